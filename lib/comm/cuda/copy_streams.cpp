#include "comm/cuda/copy_streams.hpp"

#include "comm/cuda/call.hpp"

#include <algorithm>

namespace eps::comm::cuda {

CopyStreams::CopyStreams() {
    for (CUstream_st*& stream : streams_)
        check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
    for (CUevent_st*& event : ends_)
        check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "cudaEventCreateWithFlags");
    check(cudaEventCreateWithFlags(&begin_, cudaEventDisableTiming), "cudaEventCreateWithFlags");
}

CopyStreams::~CopyStreams() {
    for (CUstream_st* stream : streams_) cudaStreamDestroy(stream);
    for (CUevent_st* event : ends_) cudaEventDestroy(event);
    cudaEventDestroy(begin_);
}

void CopyStreams::begin(CUstream_st* lane, std::int64_t num_peers) {
    lane_ = lane;
    turn_ = 0;
    num_parts_ = std::max<std::int64_t>(1, kMost / num_peers);
    num_used_ = std::min(kMost, num_parts_ * num_peers);
    check(cudaEventRecord(begin_, lane_), "cudaEventRecord");
    for (std::int64_t i = 0; i < num_used_; ++i)
        check(cudaStreamWaitEvent(streams_[at(i)], begin_, 0), "cudaStreamWaitEvent");
}

CUstream_st* CopyStreams::next() {
    return streams_[at(turn_++ % num_used_)];
}

void CopyStreams::join() {
    for (std::int64_t i = 0; i < num_used_; ++i) {
        check(cudaEventRecord(ends_[at(i)], streams_[at(i)]), "cudaEventRecord");
        check(cudaStreamWaitEvent(lane_, ends_[at(i)], 0), "cudaStreamWaitEvent");
    }
}

}  // namespace eps::comm::cuda
