// The counts to expect before a pass was ever run: exact where routing is forced, of uniformly routed tokens
// otherwise. For predicted memory, link bytes and plans that are only looked at.
#pragma once

#include "backend/inputs.hpp"

namespace eps::backend {

/// Lowers a whole pass of `runner` from expected counts.
void lower_expected(const Prompts& prompts, PassRunner& runner);

}  // namespace eps::backend
