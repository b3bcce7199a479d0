// Seconds measured at growing sizes, and what is expected between and beyond them.
#pragma once

#include <vector>

namespace eps::cost {

/// Sizes ascend strictly; sizes and seconds are positive and as many; at least one.
///
/// Lookups use + - * / only, no library function: every rank of a mixed cluster gets the same bits, so that
/// ranks decide alike without asking.
struct TimeTable {
    std::vector<double> sizes;
    std::vector<double> seconds;

    /// Straight lines between the points (a fixed cost and a rate are met exactly); below the first its
    /// seconds, beyond the last its rate; 0 for size 0.
    double at(double size) const;

    friend bool operator==(const TimeTable&, const TimeTable&) = default;
};

}  // namespace eps::cost
