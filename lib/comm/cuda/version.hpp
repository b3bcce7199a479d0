// Which NCCL this is.
#pragma once

#include <string>

namespace eps::comm::cuda {

/// "NCCL 2.28.3", as loaded.
std::string nccl_version();

}  // namespace eps::comm::cuda
