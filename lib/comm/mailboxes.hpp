// Mailboxes in memory that the ranks of a host share: how a receiver tells each sender where its messages are
// to land. The memory has no name that could be left behind, however the ranks end.
#pragma once

#include "comm/communicator.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace eps::comm {

/// Where a message is to land in its receiver's memory.
struct Landing {
    std::int64_t offset = 0;  // in the window
    std::int64_t bytes = 0;
    std::int32_t window = 0;
    std::uint32_t batch = 0;  // of this pair of ranks
};

/// From every rank of a group to every other a queue of landings. A rank's thread uses them one call at a
/// time.
class Mailboxes {
  public:
    static constexpr std::uint64_t kRoom = 256;  // landings that a queue holds

    /// Collective. Errors: communication (ranks on several hosts, or in containers that hide each other's
    /// processes), resource (no memory).
    explicit Mailboxes(Communicator& group);
    ~Mailboxes();
    Mailboxes(const Mailboxes&) = delete;
    Mailboxes& operator=(const Mailboxes&) = delete;

    /// False: the queue to this rank is full, it has to take something first.
    bool post(std::int64_t to, const Landing& landing);

    /// What rank `from` posted next for this rank, if it did already.
    std::optional<Landing> take(std::int64_t from);

  private:
    struct Queue {
        alignas(64) std::atomic<std::uint64_t> posted = 0;
        alignas(64) std::atomic<std::uint64_t> taken = 0;
        alignas(64) Landing landings[kRoom] = {};
    };
    Queue& queue(std::int64_t from, std::int64_t to) const { return queues_[from * size_ + to]; }

    std::int64_t rank_, size_;
    void* memory_ = nullptr;
    std::size_t bytes_ = 0;
    Queue* queues_ = nullptr;  // in `memory_`
};

}  // namespace eps::comm
