#include "comm/cuda/call.hpp"

#include <fmt/core.h>

namespace eps::comm::cuda {

void check(cudaError_t result, std::string_view call) {
    if (result == cudaSuccess) return;
    throw Error(result == cudaErrorMemoryAllocation ? Exit::resource : Exit::internal,
                fmt::format("{} failed: {}", call, cudaGetErrorString(result)));
}

void check(CUresult result, std::string_view call) {
    if (result == CUDA_SUCCESS) return;
    throw Error(result == CUDA_ERROR_OUT_OF_MEMORY ? Exit::resource : Exit::internal,
                fmt::format("{} failed: CUDA driver error {}", call, static_cast<int>(result)));
}

}  // namespace eps::comm::cuda
