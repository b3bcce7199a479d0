#include "comm/cuda/lane_progress.hpp"

#include "base/range.hpp"
#include "comm/back_off.hpp"
#include "comm/cuda/call.hpp"

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
    if (lane.told || lane.ops.empty()) return;
    const Op& op = lane.ops.front();
    board_->begin_op(lane_idx, op.lane_name, op.kind, op.id, op.waits);
    lane.told = true;
}

void LaneProgress::end_first(std::int64_t lane_idx, Lane& lane) {
    if (lane.told) board_->end_op(lane_idx);
    lane.told = false;
    lane.ops.pop_front();
}

void LaneProgress::look() {
    constexpr std::int64_t kApartNs = 1'000'000;
    const std::int64_t now_ns = steady_now_ns();
    if (now_ns - looked_ns_ < kApartNs) return;
    looked_ns_ = now_ns;
    for (std::size_t i = 0; i < lanes_.size(); ++i) {
        Lane& lane = lanes_[i];
        const auto lane_idx = static_cast<std::int64_t>(i);
        while (!lane.ops.empty() && lane.ops.front().done != nullptr &&
               cudaEventQuery(lane.ops.front().done) != cudaErrorNotReady)
            end_first(lane_idx, lane);
        tell(lane_idx, lane);
    }
}

void LaneProgress::wait(CUevent_st* event) {
    BackOff back_off;
    for (;;) {
        const cudaError_t state = cudaEventQuery(event);
        if (state != cudaErrorNotReady) {
            check(state, "the work before an event");
            return;
        }
        look();
        back_off.pause();
    }
}

void LaneProgress::forget() {
    for (std::size_t i = 0; i < lanes_.size(); ++i)
        while (!lanes_[i].ops.empty()) end_first(static_cast<std::int64_t>(i), lanes_[i]);
}

}  // namespace eps::comm::cuda
