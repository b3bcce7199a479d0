#include "comm/cuda/copy_batch.hpp"

#include "base/range.hpp"
#include "comm/cuda/call.hpp"

namespace eps::comm::cuda {

void CopyBatch::add(std::byte* to, const std::byte* from, std::int64_t bytes) {
    to_.push_back(to);
    from_.push_back(from);
    bytes_.push_back(at(bytes));
}

void CopyBatch::enqueue(CUstream_st* stream) {
#if CUDART_VERSION >= 13000  // before, the call had another form
    if (to_.size() > 1) {
        cudaMemcpyAttributes attributes = {};
        attributes.srcAccessOrder = cudaMemcpySrcAccessOrderStream;
        std::size_t first = 0;
        check(cudaMemcpyBatchAsync(to_.data(), from_.data(), bytes_.data(), to_.size(), &attributes, &first,
                                   1, stream),
              "cudaMemcpyBatchAsync");
        to_.clear();
    }
#endif
    for (std::size_t i = 0; i < to_.size(); ++i)
        check(cudaMemcpyAsync(to_[i], from_[i], bytes_[i], cudaMemcpyDeviceToDevice, stream),
              "cudaMemcpyAsync");
    to_.clear();
    from_.clear();
    bytes_.clear();
}

}  // namespace eps::comm::cuda
