// Words in device memory that streams write and wait for, in order with their copies: no SM, no host.
#pragma once

#include <cstdint>
#include <vector>

#include <cuda.h>

namespace eps::comm::cuda {

/// Collects operations on words and enqueues them together.
class StreamWords {
  public:
    StreamWords();

    /// All that the stream did before is seen by whoever sees the value. The word may be another rank's.
    void write(std::uint32_t* word, std::uint32_t value);

    /// Until the word is at least `value`, counted in a circle: the word is up to 2^31 ahead.
    void wait(const std::uint32_t* word, std::uint32_t value);

    void enqueue(CUstream_st* stream);

  private:
    CUresult (*batch_)(CUstream, unsigned int, CUstreamBatchMemOpParams*, unsigned int);
    std::vector<CUstreamBatchMemOpParams> collected_;
};

}  // namespace eps::comm::cuda
