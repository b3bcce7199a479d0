// What every communicator does with a list of messages before anything travels.
#pragma once

#include "comm/communicator.hpp"

#include <cstdint>
#include <functional>
#include <span>

namespace eps::comm {

/// Peers lie in [0, size), byte counts are not negative and have memory; otherwise Error internal.
void check_messages(std::span<const Message> messages, std::int64_t size);

/// Calls `copy` for the messages of `rank` to itself, k-th send and k-th receive; messages without bytes do
/// not count. Error internal when they do not pair up.
void pair_own_messages(std::int64_t rank, std::span<const Message> sends, std::span<const Message> receives,
                       const std::function<void(const Message& from, const Message& to)>& copy);

/// Copies them, in host memory.
void copy_own_messages(std::int64_t rank, std::span<const Message> sends, std::span<const Message> receives);

}  // namespace eps::comm
