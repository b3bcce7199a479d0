// The backends of this build. The list is written by CMake, from the rooms that it built.
#pragma once

#include "backend/backend.hpp"

namespace eps {

const backend::Backends& built_backends();

}  // namespace eps
