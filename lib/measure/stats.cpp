#include "measure/stats.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace eps::measure {
namespace {

/// P(B = k) for B ~ Binomial(n, 1/2); by logarithms, since 2^-n vanishes for large n.
double fair_coin(std::int64_t k, std::int64_t n) {
    const auto log_factorial = [](std::int64_t i) { return std::lgamma(static_cast<double>(i) + 1); };
    return std::exp(log_factorial(n) - log_factorial(k) - log_factorial(n - k) -
                    static_cast<double>(n) * std::log(2.0));
}

std::vector<double> sorted(std::span<const double> samples) {
    std::vector<double> values(samples.begin(), samples.end());
    std::ranges::sort(values);
    return values;
}

double median_of_sorted(std::span<const double> values) {
    if (values.empty()) return std::numeric_limits<double>::quiet_NaN();
    const std::size_t half = values.size() / 2;
    return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

}  // namespace

double median(std::span<const double> samples) {
    return median_of_sorted(sorted(samples));
}

Range median_interval_ranks(std::int64_t n) {
    constexpr double kMissedAtEachEnd = 0.025;
    std::int64_t left_out = -1;  // samples left out at each end; -1: even the extremes miss too often
    double missed = 0;           // P(B <= left_out)
    while (left_out + 1 < n) {
        missed += fair_coin(left_out + 1, n);
        if (missed > kMissedAtEachEnd) break;
        ++left_out;
    }
    return left_out < 0 ? Range{0, 0} : Range{left_out, n - left_out};
}

double median_coverage(Range ranks, std::int64_t n) {
    double covered = 0;
    for (std::int64_t k = ranks.begin + 1; k < ranks.end; ++k) covered += fair_coin(k, n);
    return covered;
}

Summary summarize(std::span<const double> samples) {
    const std::vector<double> values = sorted(samples);
    Summary summary;
    summary.n = static_cast<std::int64_t>(values.size());
    summary.median = median_of_sorted(values);
    summary.min = values.empty() ? summary.median : values.front();
    summary.max = values.empty() ? summary.median : values.back();
    const Range ranks = median_interval_ranks(summary.n);
    if (!ranks.empty()) {
        summary.interval = {values[static_cast<std::size_t>(ranks.begin)],
                            values[static_cast<std::size_t>(ranks.end - 1)]};
        summary.relative_half_width = (summary.interval->high - summary.interval->low) / 2 / summary.median;
    }
    return summary;
}

}  // namespace eps::measure
