// What there is to choose from: the answer to --list.
#pragma once

#include <string>

namespace eps {

/// Strategies with the keys they use, presets, scopes, kinds of routing.
std::string list_text();

}  // namespace eps
