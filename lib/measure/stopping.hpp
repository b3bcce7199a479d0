// When a case has been repeated often enough.
#pragma once

#include "measure/stats.hpp"

#include <cstdint>
#include <span>

namespace eps::measure {

/// The `measure` object of a config. Any values >= 0: a combination that cannot end well shows in the
/// verdict.
struct StoppingRule {
    std::int64_t warmup = 2;             // untimed passes of a case before its first timed one
    std::int64_t min_repetitions = 6;    // fewer timed passes make the case INVALID
    std::int64_t max_repetitions = 100;  // cap on timed passes
    double max_seconds = 10;             // cap on the sum of a case's timed passes
    double relative_ci = 0.02;  // wanted half width of the median's interval, as a share of the median

    /// Whether a case with these timed passes (seconds) is finished. A cap wins over everything else.
    bool enough(std::span<const double> samples) const;
    /// Whether the interval is wider than asked for, or cannot be told (fewer than 6 samples).
    bool noisy(std::span<const double> samples) const;
};

}  // namespace eps::measure
