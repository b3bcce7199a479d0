// What the lanes of a GPU are doing, for the watchdog: a lane is a stream, an op is done when an event after
// it has passed.
#pragma once

#include "comm/progress.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

struct CUevent_st;

namespace eps::comm::cuda {

/// Used by the thread that drives the lanes, and nobody else tells the board of them. It tells the board
/// while it waits, so whoever waits for a GPU or another host calls wait() or look().
class LaneProgress {
  public:
    /// `board` may be null: nothing is told.
    explicit LaneProgress(ProgressBoard* board) : board_(board) {}

    /// The host begins to enqueue an op; names as ProgressBoard wants them. Not for every op: those that wait
    /// for peers, and those with an event anyway.
    void begin(std::int64_t lane, const char* lane_name, const char* kind, std::int64_t op_id, Waits waits);

    /// `done` was recorded on the stream behind that op. It is not recorded again before the op was seen to
    /// be done, by wait() or in forget().
    void enqueued(std::int64_t lane, CUevent_st* done);

    /// Tells the board which op each lane is at. At most once a millisecond, otherwise it does nothing and
    /// returns false.
    bool look();

    /// Returns when the event has passed, at once: it yields the core, but never sleeps. Calls `check`, which
    /// may throw, whenever it looks. Error internal when the GPU failed.
    void wait(CUevent_st* event, const std::function<void()>& check = {});

    /// The ops that the lanes are at, for messages: "op 12 all_to_all on lane dispatch and ...".
    std::string under_way() const;

    /// All lanes are idle: between passes.
    void forget();

  private:
    struct Op {
        const char* lane_name = "";
        const char* kind = "";
        std::int64_t id = 0;
        Waits waits = Waits::for_nobody;
        CUevent_st* done = nullptr;  // null: the host is at it
    };
    struct Lane {
        std::vector<Op> ops;    // of the pass, in order
        std::size_t first = 0;  // not seen to be done
        bool told = false;      // the first one is on the board
        bool idle() const { return first == ops.size(); }
    };
    void tell(std::int64_t lane_idx, Lane& lane);
    void end_first(std::int64_t lane_idx, Lane& lane);

    ProgressBoard* board_;
    std::vector<Lane> lanes_;
    std::int64_t looked_ns_ = 0;
};

}  // namespace eps::comm::cuda
