// A matrix of integers in a safetensors file, checked once, read by element.
#pragma once

#include "checkpoint/safetensors.hpp"

#include <cstdint>
#include <string>

namespace eps::workload {

class IntegerMatrix {
  public:
    /// The tensor `name` of `file`, which must outlive this. Throws Error(data), naming file and tensor and
    /// what was found, unless it is int64 [num_rows, num_cols].
    IntegerMatrix(const checkpoint::Safetensors& file, const std::string& name, std::int64_t num_rows,
                  std::int64_t num_cols);

    std::int64_t at(std::int64_t row_idx, std::int64_t col_idx) const;

  private:
    const std::byte* data_;
    std::int64_t num_cols_;
};

}  // namespace eps::workload
