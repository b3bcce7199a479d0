#include "backend/cuda/streams.hpp"

#include "base/range.hpp"
#include "plan/builder.hpp"

#include <algorithm>

namespace eps::backend::cuda {

EventPool::~EventPool() {
    for (cudaEvent_t event : events_) cudaEventDestroy(event);
}

cudaEvent_t EventPool::next() {
    if (used_ == events_.size()) {
        cudaEvent_t event = nullptr;
        check(cudaEventCreateWithFlags(&event, flags_), "making an event");
        events_.push_back(event);
    }
    return events_[used_++];
}

Streams::Streams(bool exchange) {
    int least = 0, greatest = 0;
    check(cudaDeviceGetStreamPriorityRange(&least, &greatest), "reading the priorities of streams");
    for (std::int64_t i = 0; i < plan::kMaxLanes; ++i) {
        cudaStream_t stream = nullptr;
        check(cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking, exchange ? greatest : least),
              "making a stream");
        streams_.push_back(stream);
    }
}

Streams::~Streams() {
    for (cudaStream_t stream : streams_) cudaStreamDestroy(stream);
}

void Marks::begin_pass() {
    pool_.reset();
    lanes_.resize(at(plan::kMaxLanes));
    for (auto& lane : lanes_) lane.clear();
}

cudaEvent_t Marks::mark(plan::LaneId lane, plan::OpId op, cudaStream_t stream) {
    const cudaEvent_t event = pool_.next();
    check(cudaEventRecord(event, stream), "recording an event");
    lanes_[at(lane)].push_back({op, event});
    return event;
}

cudaEvent_t Marks::after(plan::LaneId lane, plan::OpId op) const {
    const auto& marks = lanes_[at(lane)];
    const auto found = std::ranges::lower_bound(marks, op, {}, &Mark::op);
    return found == marks.end() ? nullptr : found->event;
}

}  // namespace eps::backend::cuda
