// Where weights come from. A checkpoint and synthetic weights are both a WeightSource; nothing else knows
// which.
#pragma once

#include "base/range.hpp"
#include "base/rows.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

namespace eps::checkpoint {

/// value (i, j) = mean + deviation * random_normal(key, i * cols + j), in f32 without fused operations,
/// rounded once.
struct MadeValues {
    std::uint64_t key = 0;
    float mean = 0;
    float deviation = 1;
    std::int64_t cols = 0;  // of the whole tensor
};

/// Reads are thread-safe and touch only the asked-for part of a tensor.
class WeightSource {
  public:
    virtual ~WeightSource() = default;

    /// Copies rows x columns of the tensor `name` (published Hugging Face name; a vector is one row of n
    /// columns) into `out` (rows.size() x columns.size(), f32 or bf16), converting from the stored type,
    /// rounding to nearest even. Throws Error(data) naming the tensor when it is missing; ranges must lie
    /// inside its shape (checked).
    virtual void read(const std::string& name, Range rows, Range columns, Rows out) const = 0;

    /// How the tensor's values are made, if they are made and not stored: whoever can makes them in place.
    virtual std::optional<MadeValues> made(const std::string& /*name*/) const { return {}; }
};

}  // namespace eps::checkpoint
