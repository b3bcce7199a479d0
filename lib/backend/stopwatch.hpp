// The host's clock, for calibrations.
#pragma once

#include <chrono>

namespace eps::backend {

inline double now_s() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace eps::backend
