// Statistics of repeated timings: the median, and an interval for it that assumes no distribution.
#pragma once

#include "base/range.hpp"

#include <cstdint>
#include <optional>
#include <span>

namespace eps::measure {

struct Interval {
    double low = 0;
    double high = 0;
    friend bool operator==(const Interval&, const Interval&) = default;
};

/// The middle value; of an even count the mean of the two in the middle. NaN of nothing.
double median(std::span<const double> samples);

/// Positions [begin, end) of the sorted samples whose first and last enclose the true median with a
/// probability of at least 95 %: the narrowest pair of positions at equal distance from both ends. With B ~
/// Binomial(n, 1/2), the l-th smallest and the l-th largest fail to enclose it with probability 2 P(B < l).
/// Empty for n < 6, where not even the extremes do. Samples must be independent of each other.
Range median_interval_ranks(std::int64_t n);

/// The probability that exactly these positions (as above, out of n) enclose the true median.
double median_coverage(Range ranks, std::int64_t n);

struct Summary {
    std::int64_t n = 0;
    double median = 0;  // NaN without samples, as are min and max
    double min = 0;
    double max = 0;
    std::optional<Interval> interval;           // 95 %, of the median; none with fewer than 6 samples
    std::optional<double> relative_half_width;  // of the interval, as a share of the median
};

Summary summarize(std::span<const double> samples);

}  // namespace eps::measure
