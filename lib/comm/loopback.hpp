// Ranks as threads of one process, for unit tests: strict where MPI is lenient, so that a mistake shows.
// - A send is complete when it was received (MPI may buffer it), so an exchange that needs buffering hangs
// here.
// - Byte counts that differ at the two ends, and a wait beyond the time limit, end the run for all ranks.
// - Copies are made under a lock per communicator; different communicators share nothing, so that
// ThreadSanitizer
//   sees a missing order between two lanes.
#pragma once

#include "comm/communicator.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

namespace eps::comm {

/// Communicators of `num_ranks` ranks; element i belongs to rank i and is used by that rank's threads.
/// `abort(status)` throws Error(status) in its caller, and from every call that waits or comes later on any
/// rank. Errors: internal (mismatched byte counts, misuse), communication (a wait longer than
/// `time_limit_s`).
std::vector<std::unique_ptr<Communicator>> make_loopback(std::int64_t num_ranks, double time_limit_s = 60);

/// Runs `body` once per rank, each in its own thread, and joins them. The first exception stops the other
/// ranks at their next call and is thrown here.
void run_on_loopback(std::int64_t num_ranks, const std::function<void(Communicator&)>& body);

}  // namespace eps::comm
