// Copies that begin together: one call of the host for all of them. For files of this folder.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

struct CUstream_st;

namespace eps::comm::cuda {

/// Collects copies between device memory, a peer's too, and enqueues them together, in any order.
class CopyBatch {
  public:
    void add(std::byte* to, const std::byte* from, std::int64_t bytes);
    void enqueue(CUstream_st* stream);

  private:
    std::vector<void*> to_;
    std::vector<const void*> from_;
    std::vector<std::size_t> bytes_;
};

}  // namespace eps::comm::cuda
