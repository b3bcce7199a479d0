#include "comm/cuda/stream_words.hpp"

#include "comm/cuda/call.hpp"

#include <algorithm>

namespace eps::comm::cuda {

StreamWords::StreamWords() : batch_(driver_function<decltype(cuStreamBatchMemOp)>("cuStreamBatchMemOp")) {}

void StreamWords::write(std::uint32_t* word, std::uint32_t value) {
    CUstreamBatchMemOpParams op = {};
    op.writeValue.operation = CU_STREAM_MEM_OP_WRITE_VALUE_32;
    op.writeValue.address = reinterpret_cast<CUdeviceptr>(word);
    op.writeValue.value = value;
    op.writeValue.flags = CU_STREAM_WRITE_VALUE_DEFAULT;
    collected_.push_back(op);
}

void StreamWords::wait(const std::uint32_t* word, std::uint32_t value) {
    CUstreamBatchMemOpParams op = {};
    op.waitValue.operation = CU_STREAM_MEM_OP_WAIT_VALUE_32;
    op.waitValue.address = reinterpret_cast<CUdeviceptr>(word);
    op.waitValue.value = value;
    op.waitValue.flags = CU_STREAM_WAIT_VALUE_GEQ;
    collected_.push_back(op);
}

void StreamWords::enqueue(CUstream_st* stream) {
    constexpr std::size_t kMost = 255;  // of one call
    for (std::size_t begin = 0; begin < collected_.size(); begin += kMost) {
        const auto count = static_cast<unsigned int>(std::min(kMost, collected_.size() - begin));
        check(batch_(stream, count, collected_.data() + begin, 0), "cuStreamBatchMemOp");
    }
    collected_.clear();
}

}  // namespace eps::comm::cuda
