// This rank's part in the run: what every phase needs.
#pragma once

#include "app/options.hpp"
#include "backend/backend.hpp"
#include "base/error.hpp"
#include "comm/communicator.hpp"
#include "comm/progress.hpp"

#include <cstdint>
#include <exception>
#include <functional>
#include <string>

namespace eps {

struct Launch {
    comm::Communicator* world = nullptr;  // for control; passes have communicators of their own
    comm::ProgressBoard* board = nullptr;
    const backend::Backends* backends = nullptr;  // those that were built
    backend::Backend* backend = nullptr;          // the run's; null on the backend sim
    Options options;
    std::string host;
    int threads = 1;               // of the compute lane
    std::int64_t cores_share = 1;  // cores this rank may count on
    bool cores_shared = false;     // more ranks than cores
    bool one_clock = true;         // all ranks read the same clock

    bool speaks() const { return world->rank() == 0; }
};

/// An error that every rank throws alike, so that one of them may speak for all.
class AgreedError : public Error {
  public:
    using Error::Error;
};

/// Runs `work` on every rank; if it throws anywhere, every rank throws the first one (by rank) as
/// AgreedError. `work` itself must not talk to other ranks.
void agree(comm::Communicator& world, const std::function<void()>& work);

/// Runs `work` on rank 0, for all of them: what it throws, every rank throws as AgreedError.
void on_first_rank(comm::Communicator& world, const std::function<void()>& work);

/// The run's error, once: prints one line and ends all ranks with its status.
[[noreturn]] void end_run(comm::Communicator& world, const std::exception& error);

}  // namespace eps
