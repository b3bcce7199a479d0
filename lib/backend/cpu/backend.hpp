// The CPU backend as the program sees it.
#pragma once

#include "backend/backend.hpp"
#include "kernels/kernels.hpp"

#include <memory>

namespace eps::backend::cpu {

/// `kernels`: what passes compute with (tests give broken ones); outlives the backend.
std::unique_ptr<Backend> make_backend(const BackendSetup& setup, const kernels::Kernels& kernels);

/// With the fast kernels.
BackendEntry entry();

}  // namespace eps::backend::cpu
