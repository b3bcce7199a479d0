// The emulated wire of one rank (config key `link`): one way out and one way in, shared by everything the
// rank sends and receives, one message after the other in each direction.
//
// A message of b bytes that is posted at t leaves when the sender's way out is free, reaches the receiver one
// latency later, and has arrived b / bandwidth after the receiver's way in is free for it. Both ends hold its
// memory as long: the sender until it has left, the receiver until it has arrived. Nobody waits for a
// receiver that is not there yet.
#pragma once

#include "base/link.hpp"
#include "comm/busy_times.hpp"
#include "comm/communicator.hpp"

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>

namespace eps::comm {

/// Which clock this process reads: processes of one host, which share it, give the same number.
std::uint64_t this_clock();

/// One per rank. Lanes use it at once.
class Wire {
  public:
    explicit Wire(std::uint64_t clock = this_clock()) : clock_(clock) {}
    Wire(const Wire&) = delete;
    Wire& operator=(const Wire&) = delete;

    /// From now on messages travel over such a link, or, without one, as fast as they can. The same on all
    /// ranks, while this rank exchanges nothing.
    void use(const std::optional<Link>& link);
    const std::optional<Link>& link() const { return link_; }
    std::uint64_t clock() const { return clock_; }

    /// When a message that is posted now leaves (its first byte), and when one that left then has arrived
    /// (its last byte). Nanoseconds of the steady clock.
    std::int64_t leave(std::int64_t now_ns, std::int64_t bytes);
    std::int64_t arrive(std::int64_t left_ns, std::int64_t bytes);

  private:
    std::uint64_t clock_;
    std::optional<Link> link_;
    std::mutex mutex_;
    BusyTimes out_, in_;
};

/// `inner` over `wire`, which outlives it, and so are communicators made from it: an exchange returns when
/// the wire would have delivered its messages. The messages of one exchange leave by rotating peers, the next
/// rank first, so that no receiver is everybody's first. Messages to oneself and barriers do not use the
/// wire. Waiting sleeps. Between ranks without a common clock a message counts as having left when its real
/// copy has come (and the wait for the sender's way out is added): it arrives later than on the wire, by the
/// time of the real transfer, never earlier. Collective.
std::unique_ptr<Communicator> over_wire(std::unique_ptr<Communicator> inner, Wire& wire);

/// Whether all ranks read one clock. Collective.
bool share_clock(Communicator& communicator);

}  // namespace eps::comm
