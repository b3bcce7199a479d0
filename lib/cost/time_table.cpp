#include "cost/time_table.hpp"

#include <algorithm>
#include <cstddef>

namespace eps::cost {

double TimeTable::at(double size) const {
    if (size <= 0) return 0;
    if (size <= sizes.front()) return seconds.front();
    if (size >= sizes.back()) return seconds.back() * (size / sizes.back());
    const auto above =
        static_cast<std::size_t>(std::upper_bound(sizes.begin(), sizes.end(), size) - sizes.begin());
    const std::size_t below = above - 1;
    const double share = (size - sizes[below]) / (sizes[above] - sizes[below]);
    return seconds[below] + share * (seconds[above] - seconds[below]);
}

}  // namespace eps::cost
