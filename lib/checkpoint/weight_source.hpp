// Where weights come from. A checkpoint and synthetic weights are both a WeightSource; nothing else knows
// which.
#pragma once

#include "base/range.hpp"
#include "base/rows.hpp"

#include <cstdint>
#include <memory>
#include <string>

namespace eps::checkpoint {

/// Reads are thread-safe and touch only the asked-for part of a tensor.
class WeightSource {
  public:
    virtual ~WeightSource() = default;

    /// Copies rows x columns of the tensor `name` (published Hugging Face name; a vector is one row of n
    /// columns) into `out` (rows.size() x columns.size(), f32 or bf16), converting from the stored type,
    /// rounding to nearest even. Throws Error(data) naming the tensor when it is missing; ranges must lie
    /// inside its shape (checked).
    virtual void read(const std::string& name, Range rows, Range columns, Rows out) const = 0;
};

}  // namespace eps::checkpoint
