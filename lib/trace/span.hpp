// When one op ran.
#pragma once

#include <cstdint>

namespace eps::trace {

/// One op on one lane of one rank; steady-clock nanoseconds.
struct Span {
    std::int32_t rank = 0;
    std::int32_t lane = 0;  // index into the plan's lanes
    std::int32_t op = 0;    // id in the pass
    std::int32_t kind = 0;  // index into plan::kOpNames
    std::int32_t layer = -1;
    std::int32_t micro_batch = 0;
    std::int64_t begin_ns = 0;
    std::int64_t end_ns = 0;
};

}  // namespace eps::trace
