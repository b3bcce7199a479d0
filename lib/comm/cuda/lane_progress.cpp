#include "comm/cuda/lane_progress.hpp"

#include "base/range.hpp"
#include "comm/cuda/call.hpp"

#include <fmt/core.h>
#include <sched.h>

namespace eps::comm::cuda {

void LaneProgress::begin(std::int64_t lane_idx, const char* lane_name, const char* kind, std::int64_t op_id,
                         Waits waits) {
    if (board_ == nullptr) return;
    if (lane_idx >= std::ssize(lanes_)) lanes_.resize(at(lane_idx + 1));
    Lane& lane = lanes_[at(lane_idx)];
    lane.ops.push_back({lane_name, kind, op_id, waits, nullptr});
    tell(lane_idx, lane);
}

void LaneProgress::enqueued(std::int64_t lane_idx, CUevent_st* done) {
    if (board_ != nullptr) lanes_[at(lane_idx)].ops.back().done = done;
}

void LaneProgress::tell(std::int64_t lane_idx, Lane& lane) {
    if (lane.told || lane.idle()) return;
    const Op& op = lane.ops[lane.first];
    board_->begin_op(lane_idx, op.lane_name, op.kind, op.id, op.waits);
    lane.told = true;
}

void LaneProgress::end_first(std::int64_t lane_idx, Lane& lane) {
    if (lane.told) board_->end_op(lane_idx);
    lane.told = false;
    if (++lane.first < lane.ops.size()) return;
    lane.ops.clear();
    lane.first = 0;
}

bool LaneProgress::look() {
    constexpr std::int64_t kApartNs = 1'000'000;
    const std::int64_t now_ns = steady_now_ns();
    if (now_ns - looked_ns_ < kApartNs) return false;
    looked_ns_ = now_ns;
    for (std::size_t i = 0; i < lanes_.size(); ++i) {
        Lane& lane = lanes_[i];
        const auto lane_idx = static_cast<std::int64_t>(i);
        while (!lane.idle() && lane.ops[lane.first].done != nullptr &&
               cudaEventQuery(lane.ops[lane.first].done) != cudaErrorNotReady)
            end_first(lane_idx, lane);
        tell(lane_idx, lane);
    }
    return true;
}

void LaneProgress::wait(CUevent_st* event, const std::function<void()>& check) {
    for (;;) {
        const cudaError_t state = cudaEventQuery(event);
        if (state != cudaErrorNotReady) {
            cuda::check(state, "the work before an event");
            return;
        }
        if (look() && check) check();
        sched_yield();
    }
}

std::string LaneProgress::under_way() const {
    std::string text;
    for (const Lane& lane : lanes_) {
        if (lane.idle()) continue;
        const Op& op = lane.ops[lane.first];
        text +=
            fmt::format("{}op {} {} on lane {}", text.empty() ? "" : " and ", op.id, op.kind, op.lane_name);
    }
    return text.empty() ? "no op" : text;
}

void LaneProgress::forget() {
    for (std::size_t i = 0; i < lanes_.size(); ++i)
        while (!lanes_[i].idle()) end_first(static_cast<std::int64_t>(i), lanes_[i]);
}

}  // namespace eps::comm::cuda
