// The run as a story in phases.
#pragma once

#include "kernels/kernels.hpp"

namespace eps {

/// The whole program. `kernels`: what passes compute with (tests give broken ones). Returns the exit status.
int run_program(int argc, char** argv, const kernels::Kernels& kernels);

}  // namespace eps
