// The run as a story in phases.
#pragma once

#include "backend/backend.hpp"

namespace eps {

/// The whole program. `backends`: what passes may run on (tests give one with broken kernels). Returns the
/// exit status.
int run_program(int argc, char** argv, const backend::Backends& backends);

}  // namespace eps
