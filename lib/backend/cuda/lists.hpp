// Short lists of numbers on their way to kernels: written to page-locked memory, copied in stream order.
// Nothing is allocated in a pass, and the host never waits for a copy.
#pragma once

#include "backend/cuda/memory.hpp"

#include <cstdint>
#include <span>

namespace eps::backend::cuda {

class Lists {
  public:
    /// Device memory for the lists of one pass, kept elsewhere.
    static constexpr std::int64_t kBytes = std::int64_t{8} << 20;
    explicit Lists(std::byte* device) : host_(kBytes), device_(device) {}

    /// Forgets everything: between passes.
    void reset() { used_ = 0; }

    /// The values as i32 in device memory, there when what follows on the stream runs; they stay until
    /// reset(). Error resource when a pass has more lists than fit.
    const std::int32_t* put(std::span<const std::int64_t> values, cudaStream_t stream);

    /// The same to device memory of the caller's.
    void send(std::span<const std::int64_t> values, std::int32_t* to, cudaStream_t stream);

    /// Page-locked memory for what is copied by somebody else; stays until reset(). Null when a pass has had
    /// most of it: the rest is for put().
    std::byte* take(std::int64_t bytes);

  private:
    std::byte* next(std::int64_t bytes);
    PinnedBytes host_;
    std::byte* device_;
    std::int64_t used_ = 0;
};

}  // namespace eps::backend::cuda
