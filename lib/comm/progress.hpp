// What a rank is doing right now, written by its threads and read by the watchdog; nobody ever waits for
// anybody.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>

namespace eps::comm {

/// Nanoseconds of the steady clock.
std::int64_t steady_now_ns();

/// Whether the time limit for ops holds in a phase.
enum class Patience : std::uint8_t {
    limited,    // an op, or a stretch without any op, may take `op_timeout`
    unlimited,  // work whose length nobody knows, and ranks that wait for it: loading, the reference pass
};

/// Whether an op can only end when other ranks do their part.
enum class Waits : std::uint8_t { for_nobody, for_peers };

class ProgressBoard {
  public:
    static constexpr std::int64_t kMaxLanes = 32;
    static constexpr std::int64_t kNoPlan = -1;

    /// What the whole rank does. Called by one thread; not for every pass. `phase` is a string literal.
    void set_phase(const char* phase, Patience patience = Patience::limited);
    /// The case being run, "" for none. Same thread as set_phase.
    void set_case(std::string_view name);

    /// A lane's op begins or ends. Each lane is used by one thread at a time; `lane` is in [0, kMaxLanes),
    /// otherwise Error internal. `lane_name` and `kind` are literals or kept(). Work that is no op
    /// of a plan has the id kNoPlan, and its lane no name.
    void begin_op(std::int64_t lane, const char* lane_name, const char* kind, std::int64_t op_id,
                  Waits waits);
    void end_op(std::int64_t lane);

    /// A copy of `name` that lives as long as the board; for names made at run time. Same thread as
    /// set_phase.
    const char* kept(std::string_view name);

    struct Phase {
        const char* name = "start";
        std::string case_name;
        Patience patience = Patience::unlimited;
        std::int64_t begin_ns = 0;
    };
    struct RunningOp {
        const char* lane_name = "";
        const char* kind = "";
        std::int64_t op_id = 0;
        Waits waits = Waits::for_nobody;
        std::int64_t begin_ns = 0;
    };

    // For the watchdog; any thread.
    const Phase& phase() const { return *phase_.load(std::memory_order_acquire); }
    /// The op of this lane; nothing when the lane is idle or changes at this moment.
    std::optional<RunningOp> running_op(std::int64_t lane) const;
    /// When an op or a phase last began or ended.
    std::int64_t last_change_ns() const;

  private:
    struct Lane {
        std::atomic<std::int64_t> begin_ns = 0;  // 0: idle
        std::atomic<const char*> name = "";
        std::atomic<const char*> kind = "";
        std::atomic<std::int64_t> op_id = 0;
        std::atomic<Waits> waits = Waits::for_nobody;
        std::atomic<std::int64_t> changed_ns = 0;
        char own_cache_line[64 - 40] = {};
    };

    Lane& lane_at(std::int64_t lane);
    void publish(Phase phase);

    std::array<Lane, kMaxLanes> lanes_;
    std::deque<Phase> phases_ = {Phase{}};  // all that ever were: the watchdog may still read an old one
    std::deque<std::string> names_;
    std::atomic<const Phase*> phase_ = &phases_.front();
};

/// An op on the board for as long as this lives. A null board is allowed: nothing is published.
class OpInProgress {
  public:
    OpInProgress(ProgressBoard* board, std::int64_t lane, const char* lane_name, const char* kind,
                 std::int64_t op_id, Waits waits)
        : board_(board), lane_(lane) {
        if (board_ != nullptr) board_->begin_op(lane, lane_name, kind, op_id, waits);
    }
    ~OpInProgress() {
        if (board_ != nullptr) board_->end_op(lane_);
    }
    OpInProgress(const OpInProgress&) = delete;
    OpInProgress& operator=(const OpInProgress&) = delete;

  private:
    ProgressBoard* board_;
    std::int64_t lane_;
};

}  // namespace eps::comm
