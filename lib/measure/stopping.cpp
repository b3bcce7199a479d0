#include "measure/stopping.hpp"

#include <numeric>

namespace eps::measure {

bool StoppingRule::enough(std::span<const double> samples) const {
    const auto n = static_cast<std::int64_t>(samples.size());
    if (n >= max_repetitions) return true;
    if (std::accumulate(samples.begin(), samples.end(), 0.0) >= max_seconds) return true;
    return n >= min_repetitions && !noisy(samples);
}

bool StoppingRule::noisy(std::span<const double> samples) const {
    const Summary summary = summarize(samples);
    // Not `>`: a width that is not a number is not narrow.
    return !summary.relative_half_width || !(*summary.relative_half_width <= relative_ci);
}

}  // namespace eps::measure
