// What there is to choose from: the answer to --list.
#pragma once

#include "backend/backend.hpp"

#include <string>

namespace eps {

/// Strategies with the keys they use, presets, scopes, kinds of routing.
std::string list_text();

/// For --list-devices: the devices of every backend that was built.
std::string device_text(const backend::Backends& backends);

}  // namespace eps
