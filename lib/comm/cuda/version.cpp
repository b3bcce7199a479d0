#include "comm/cuda/version.hpp"

#include "base/error.hpp"

#include <fmt/format.h>
#include <nccl.h>

namespace eps::comm::cuda {

std::string nccl_version() {
    int version = 0;
    if (ncclGetVersion(&version) != ncclSuccess)
        throw Error(Exit::internal, "NCCL does not tell its version");
    return fmt::format("NCCL {}.{}.{}", version / 10000, version % 10000 / 100, version % 100);
}

}  // namespace eps::comm::cuda
