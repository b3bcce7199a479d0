// Collectives for control: sizes, verdicts, reports. Made of exchanges, one message per pair; not for timed
// work. All ranks of the communicator call them in the same order.
#pragma once

#include "comm/communicator.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace eps::comm {

using Bytes = std::vector<std::byte>;

/// `in` of every rank, one after the other by rank. Every rank gives the same number of bytes.
Bytes all_gather_bytes(Communicator& communicator, std::span<const std::byte> in);

/// On `root`: what each rank gave, of any size. Elsewhere: empty.
std::vector<Bytes> gather_bytes(Communicator& communicator, std::int64_t root, std::span<const std::byte> in);

/// What each rank gave, on every rank.
std::vector<std::string> all_gather_strings(Communicator& communicator, std::string_view in);

/// `in` of `root`, on every rank; what others give is ignored.
Bytes broadcast_bytes(Communicator& communicator, std::int64_t root, std::span<const std::byte> in);
std::string broadcast_string(Communicator& communicator, std::int64_t root, std::string_view in);

/// The largest value of any rank, the same bits on every rank; NaN where any rank gave NaN.
double max_over_ranks(Communicator& communicator, double value);
std::int64_t max_over_ranks(Communicator& communicator, std::int64_t value);

/// Whether every rank gave the same bytes; the same answer on every rank.
bool all_equal(Communicator& communicator, std::span<const std::byte> in);

}  // namespace eps::comm
