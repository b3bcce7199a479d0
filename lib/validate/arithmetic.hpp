// The few sums that the reference pass is made of: f32 values, f64 sums, one fixed order whatever the number
// of threads.
#pragma once

#include "base/range.hpp"

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace eps::validate {

/// sum of a[i] * b[i], i in [0, n)
double dot(const float* a, const float* b, std::int64_t n);

/// weight * (x / sqrt(mean(x^2) + eps)) for each row of `x` [rows, weight.size()].
std::vector<float> rms_norm(std::span<const float> x, std::span<const float> weight, double eps);

/// silu(gate) * up, element by element.
std::vector<float> swiglu(std::span<const float> gate, std::span<const float> up);

/// a + b, element by element; equal sizes.
std::vector<float> sum(std::span<const float> a, std::span<const float> b);

/// Turns scores into probabilities in place.
void softmax(std::span<double> scores);

/// Rows `rows` of `x`, whose rows have `num_cols` values, in that order.
std::vector<float> gathered(std::span<const float> x, std::int64_t num_cols,
                            std::span<const std::int64_t> rows);

/// Calls `work` on contiguous parts of [0, num_items), side by side on up to `threads` threads. What a part
/// throws is thrown here.
void for_parts(std::int64_t num_items, int threads, const std::function<void(Range)>& work);

}  // namespace eps::validate
