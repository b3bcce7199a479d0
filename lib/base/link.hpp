// An emulated wire between ranks, or a modelled one: how fast bytes flow and how long the first one takes.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace eps {

struct Link {
    double gb_per_s = 20;   // 10^9 bytes a second, in each direction of a rank's wire
    double latency_us = 5;  // of every message

    friend bool operator==(const Link&, const Link&) = default;

    /// How long a message keeps the wire busy.
    std::int64_t duration_ns(std::int64_t bytes) const {
        return std::llround(std::min(static_cast<double>(bytes) / gb_per_s, 9e18));
    }
    std::int64_t latency_ns() const { return std::llround(latency_us * 1000); }
};

}  // namespace eps
