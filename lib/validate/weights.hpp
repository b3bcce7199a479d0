// The weights of one run as the reference pass reads them: f32 values, rounded to the run's dtype, piece by
// piece, so that no tensor is ever held whole.
#pragma once

#include "base/dtype.hpp"
#include "checkpoint/weight_source.hpp"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace eps::validate {

/// "model.layers.{layer}.{tensor}"
std::string layer_tensor(std::int64_t layer, const std::string& tensor);

class Weights {
  public:
    /// `source` must outlive this object. `dtype` is that of the run: for bf16 every value is rounded to bf16
    /// (and kept as f32).
    Weights(const checkpoint::WeightSource& source, DType dtype, int threads = 1);

    int threads() const { return threads_; }

    /// A vector tensor of `size` values.
    std::vector<float> vector(const std::string& name, std::int64_t size) const;

    /// Rows of a matrix of `num_cols` columns, row-major.
    std::vector<float> rows(const std::string& name, Range rows, std::int64_t num_cols) const;

    /// x W^T for `x` [rows, num_in] and the matrix `name` [num_out, num_in]: [rows, num_out]. Nothing is read
    /// for no rows.
    std::vector<float> project(const std::string& name, std::int64_t num_out, std::span<const float> x,
                               std::int64_t num_in) const;

    /// The same, plus the vector `bias` [num_out].
    std::vector<float> project_with_bias(const std::string& name, const std::string& bias,
                                         std::int64_t num_out, std::span<const float> x,
                                         std::int64_t num_in) const;

  private:
    const checkpoint::WeightSource& source_;
    DType dtype_;
    int threads_;
};

}  // namespace eps::validate
