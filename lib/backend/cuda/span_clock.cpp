#include "backend/cuda/span_clock.hpp"

#include "comm/progress.hpp"

namespace eps::backend::cuda {

void SpanClock::begin_pass(cudaStream_t stream) {
    pool_.reset();
    timed_.clear();
    origin_ = pool_.next();
    check(cudaEventRecord(origin_, stream), "recording an event");
    check(cudaEventSynchronize(origin_), "waiting for an event");
    origin_ns_ = comm::steady_now_ns();
}

void SpanClock::begin(cudaStream_t stream, const trace::Span& span) {
    Timed& timed = timed_.emplace_back(span, pool_.next(), pool_.next());
    check(cudaEventRecord(timed.begin, stream), "recording an event");
}

void SpanClock::end(cudaStream_t stream) {
    check(cudaEventRecord(timed_.back().end, stream), "recording an event");
}

std::vector<trace::Span> SpanClock::take() {
    const auto since_origin = [&](cudaEvent_t event) {
        float ms = 0;
        check(cudaEventElapsedTime(&ms, origin_, event), "reading the time between events");
        return origin_ns_ + static_cast<std::int64_t>(static_cast<double>(ms) * 1e6);
    };
    std::vector<trace::Span> spans;
    for (Timed& timed : timed_) {
        timed.span.begin_ns = since_origin(timed.begin);
        timed.span.end_ns = since_origin(timed.end);
        spans.push_back(timed.span);
    }
    timed_.clear();
    return spans;
}

}  // namespace eps::backend::cuda
