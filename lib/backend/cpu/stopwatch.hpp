// Seconds of a short piece of work on a machine that also does other things.
#pragma once

#include "backend/stopwatch.hpp"
#include "cost/wanted.hpp"

#include <algorithm>
#include <cstdint>
#include <vector>

namespace eps::backend::cpu {

using cost::kLongRun_s;

/// The median of bursts of f(), per call: bursts of at least 50 us, three of them or one if a call is long.
template <typename F>
double seconds_of(F&& f) {
    const double warm_s = now_s();
    f();
    double begin_s = now_s();
    if (begin_s - warm_s > kLongRun_s) return begin_s - warm_s;
    f();
    const double once_s = std::max(now_s() - begin_s, 1e-8);
    const auto calls = static_cast<std::int64_t>(std::clamp(50e-6 / once_s, 1.0, 1000.0));
    std::vector<double> bursts;
    for (int burst = 0; burst < (once_s > kLongRun_s / 4 ? 1 : 3); ++burst) {
        begin_s = now_s();
        for (std::int64_t i = 0; i < calls; ++i) f();
        bursts.push_back((now_s() - begin_s) / static_cast<double>(calls));
    }
    std::ranges::sort(bursts);
    return bursts[bursts.size() / 2];
}

}  // namespace eps::backend::cpu
