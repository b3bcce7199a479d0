// What the program makes of an exception: its exit status and its line.
#pragma once

#include "base/error.hpp"

#include <exception>

namespace eps {

Exit status_of(const std::exception& error);
/// What it says, also where memory ran out.
const char* text_of(const std::exception& error);

}  // namespace eps
