// Results of CUDA's own calls as errors of the program. For files of this folder.
#pragma once

#include "base/error.hpp"

#include <string>
#include <string_view>

#include <cuda.h>
#include <cuda_runtime_api.h>

namespace eps::comm::cuda {

/// Error resource where memory ran out, otherwise internal; `call` is what failed.
void check(cudaError_t result, std::string_view call);
void check(CUresult result, std::string_view call);

/// A function of the driver, found at run time: programs start where no driver is.
template <typename Function>
Function* driver_function(const char* name) {
    void* found = nullptr;
    cudaDriverEntryPointQueryResult state = cudaDriverEntryPointSymbolNotFound;
    check(cudaGetDriverEntryPointByVersion(name, &found, 12000, cudaEnableDefault, &state), name);
    if (found == nullptr) throw Error(Exit::resource, std::string("this CUDA driver has no ") + name);
    return reinterpret_cast<Function*>(found);
}

}  // namespace eps::comm::cuda
