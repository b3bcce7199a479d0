// Seconds measured at growing sizes, and what is expected between and beyond them.
#pragma once

#include <cstddef>
#include <vector>

namespace eps::cost {

/// Where a size lies among measured ones: `share` of the way from the one below `above` to it; before the
/// first, or beyond the last (above: their number), `share` times that one.
struct Place {
    std::size_t above = 0;
    double share = 0;
};

/// `sizes` ascend strictly; at least one. Before the first the share is 1, 0 for size 0.
inline Place place_of(double size, const std::vector<double>& sizes) {
    if (size <= 0) return {};
    std::size_t above = 0;
    while (above < sizes.size() && sizes[above] <= size) ++above;  // tables are short
    if (above == 0) return {0, 1};
    if (above == sizes.size()) return {above, size / sizes.back()};
    return {above, (size - sizes[above - 1]) / (sizes[above] - sizes[above - 1])};
}

/// What is expected there; `seconds` (a double, or a few) at each size.
template <typename Seconds>
Seconds seconds_at(Place place, const std::vector<Seconds>& seconds) {
    if (place.above == 0) return place.share * seconds.front();
    if (place.above == seconds.size()) return place.share * seconds.back();
    const Seconds& below = seconds[place.above - 1];
    return below + place.share * (seconds[place.above] - below);
}

/// Sizes ascend strictly; sizes and seconds are positive and as many; at least one.
///
/// Lookups use + - * / only, no library function: every rank of a mixed cluster gets the same bits, so that
/// ranks decide alike without asking.
struct TimeTable {
    std::vector<double> sizes;
    std::vector<double> seconds;

    /// Straight lines between the points (a fixed cost and a rate are met exactly); below the first its
    /// seconds, beyond the last its rate; 0 for size 0.
    double at(double size) const { return seconds_at(place_of(size, sizes), seconds); }

    friend bool operator==(const TimeTable&, const TimeTable&) = default;
};

}  // namespace eps::cost
