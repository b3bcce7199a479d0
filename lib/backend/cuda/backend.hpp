// The CUDA backend as the program sees it: one GPU for every rank.
#pragma once

#include "backend/backend.hpp"

namespace eps::backend::cuda {

BackendEntry entry();

}  // namespace eps::backend::cuda
