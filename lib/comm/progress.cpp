#include "comm/progress.hpp"

#include "base/error.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

#include <fmt/core.h>

namespace eps::comm {

// Within a lane, stores are released in order and loads acquired: a reader that sees a newer field also sees
// the `begin_ns` of 0, or of the next op, that was stored before it, and gives up.

std::int64_t steady_now_ns() {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(
               std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

void ProgressBoard::publish(Phase phase) {
    phase.begin_ns = steady_now_ns();
    phase_.store(&phases_.emplace_back(std::move(phase)), std::memory_order_release);
}

void ProgressBoard::set_phase(const char* phase, Patience patience) {
    Phase next = phases_.back();
    next.name = phase;
    next.patience = patience;
    publish(std::move(next));
}

void ProgressBoard::set_case(std::string_view name) {
    Phase next = phases_.back();
    next.case_name = name;
    publish(std::move(next));
}

const char* ProgressBoard::kept(std::string_view name) {
    return names_.emplace_back(name).c_str();
}

ProgressBoard::Lane& ProgressBoard::lane_at(std::int64_t lane) {
    if (lane < 0 || lane >= kMaxLanes) {
        throw Error(Exit::internal,
                    fmt::format("lane {} has no place on the progress board of {}", lane, kMaxLanes));
    }
    return lanes_[static_cast<std::size_t>(lane)];
}

void ProgressBoard::begin_op(std::int64_t lane, const char* lane_name, const char* kind, std::int64_t op_id,
                             Waits waits) {
    Lane& at = lane_at(lane);
    const std::int64_t now_ns = steady_now_ns();
    at.name.store(lane_name, std::memory_order_release);
    at.kind.store(kind, std::memory_order_release);
    at.op_id.store(op_id, std::memory_order_release);
    at.waits.store(waits, std::memory_order_release);
    at.changed_ns.store(now_ns, std::memory_order_release);
    at.begin_ns.store(now_ns, std::memory_order_release);
}

void ProgressBoard::end_op(std::int64_t lane) {
    Lane& at = lane_at(lane);
    at.begin_ns.store(0, std::memory_order_release);
    at.changed_ns.store(steady_now_ns(), std::memory_order_release);
}

std::optional<ProgressBoard::RunningOp> ProgressBoard::running_op(std::int64_t lane) const {
    const Lane& at = lanes_[static_cast<std::size_t>(lane)];
    RunningOp op;
    op.begin_ns = at.begin_ns.load(std::memory_order_acquire);
    if (op.begin_ns == 0) return std::nullopt;
    op.lane_name = at.name.load(std::memory_order_acquire);
    op.kind = at.kind.load(std::memory_order_acquire);
    op.op_id = at.op_id.load(std::memory_order_acquire);
    op.waits = at.waits.load(std::memory_order_acquire);
    if (at.begin_ns.load(std::memory_order_acquire) != op.begin_ns) return std::nullopt;
    return op;
}

std::int64_t ProgressBoard::last_change_ns() const {
    std::int64_t last_ns = phase().begin_ns;
    for (const Lane& lane : lanes_)
        last_ns = std::max(last_ns, lane.changed_ns.load(std::memory_order_acquire));
    return last_ns;
}

}  // namespace eps::comm
