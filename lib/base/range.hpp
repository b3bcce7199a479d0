// Half-open ranges, and the one rule by which anything is split into parts.
#pragma once

#include <cstddef>
#include <cstdint>

namespace eps {

/// A row number or the like as an index of a container: ids[at(i)].
constexpr std::size_t at(std::int64_t i) {
    return static_cast<std::size_t>(i);
}

/// [begin, end)
struct Range {
    std::int64_t begin = 0;
    std::int64_t end = 0;

    constexpr std::int64_t size() const { return end - begin; }
    constexpr bool empty() const { return end <= begin; }
    constexpr bool contains(std::int64_t i) const { return begin <= i && i < end; }
    friend constexpr bool operator==(Range, Range) = default;
};

constexpr bool overlaps(Range a, Range b) {
    return a.begin < b.end && b.begin < a.end;
}

/// Part `part_idx` of `num_parts` of `total` things: [i*N/n, (i+1)*N/n). Nothing has to divide evenly.
constexpr Range part_of(std::int64_t total, std::int64_t num_parts, std::int64_t part_idx) {
    return {part_idx * total / num_parts, (part_idx + 1) * total / num_parts};
}

/// The part that holds `item`: the inverse of `part_of`. Needs 0 <= item < total.
constexpr std::int64_t part_holding(std::int64_t total, std::int64_t num_parts, std::int64_t item) {
    return ((item + 1) * num_parts - 1) / total;
}

}  // namespace eps
