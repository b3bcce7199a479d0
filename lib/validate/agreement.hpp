// Agreement of two runs of the same work: bit for bit where the order of all sums is the same, within a bound
// elsewhere.
#pragma once

#include "base/dtype.hpp"
#include "validate/check.hpp"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace eps::validate {

/// `actual` must have the bits of `expected`; the reason names the first difference. `other` is the other
/// run's name. Outputs stored as bf16 lose nothing by being given as f32.
CheckResult check_same_bits(const std::string& other, std::span<const float> expected,
                            std::span<const float> actual);

/// Rows of `num_cols` values within the bound of a whole pass in `dtype`. Decisive in f32 only: in bf16
/// near-ties of the gate cascade, so that the error is reported and fails nothing. `left_out` rows (see
/// rows_after_flips; may be empty) are not compared; fewer than half the rows left is a failure.
CheckResult check_agreement(const std::string& other, DType dtype, std::span<const float> expected,
                            std::span<const float> actual, std::int64_t num_cols,
                            const std::vector<bool>& left_out);

/// For each token of the batch: did it, or a token before it in its sequence, go to other experts in the two
/// runs, in any of the given layers? From there on the two compute different things. `expected[i]` and
/// `actual[i]` are ids [T, top_k] of layer i.
std::vector<bool> rows_after_flips(std::span<const std::int64_t> starts, std::int64_t top_k,
                                   std::span<const std::vector<std::int32_t>> expected,
                                   std::span<const std::vector<std::int32_t>> actual);

}  // namespace eps::validate
