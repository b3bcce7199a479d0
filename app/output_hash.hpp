// A rank's outputs in few bytes: whether a pass computed what was validated.
#pragma once

#include "app/live_case.hpp"
#include "backend/executor.hpp"

#include <cstdint>

namespace eps {

/// This rank's outputs, as a hash of their bytes, and whether all are finite.
struct OutputHash {
    std::uint64_t hash = 0;
    bool finite = true;
    std::int64_t num_values = 0;
};
OutputHash hash_outputs(const LiveCase& live, backend::Executor& executor);

}  // namespace eps
