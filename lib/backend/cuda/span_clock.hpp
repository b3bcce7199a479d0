// Spans of a traced pass: two timed events around every op, told in the host's time.
#pragma once

#include "backend/cuda/streams.hpp"
#include "trace/span.hpp"

#include <cstdint>
#include <vector>

namespace eps::backend::cuda {

class SpanClock {
  public:
    /// Nothing is under way on the device: ties its time to the host's.
    void begin_pass(cudaStream_t stream);

    void begin(cudaStream_t stream, const trace::Span& span);
    void end(cudaStream_t stream);

    /// All ops are done.
    std::vector<trace::Span> take();

  private:
    struct Timed {
        trace::Span span;
        cudaEvent_t begin, end;
    };
    EventPool pool_{cudaEventDefault};
    cudaEvent_t origin_ = nullptr;
    std::int64_t origin_ns_ = 0;
    std::vector<Timed> timed_;
};

}  // namespace eps::backend::cuda
