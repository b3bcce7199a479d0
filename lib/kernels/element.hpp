// One element of Rows whatever its dtype: for the twins, which are read more often than they are run.
#pragma once

#include "base/rows.hpp"

#include <vector>

namespace eps::kernels {

inline float get(const Rows& x, std::int64_t row_idx, std::int64_t col_idx) {
    return with_float_type(x.dtype,
                           [&]<typename T>() { return static_cast<float>(x.row<T>(row_idx)[col_idx]); });
}

/// Rounds to the dtype of `x`.
inline void set(const Rows& x, std::int64_t row_idx, std::int64_t col_idx, float value) {
    with_float_type(x.dtype, [&]<typename T>() { x.row<T>(row_idx)[col_idx] = static_cast<T>(value); });
}

inline std::vector<float> row_values(const Rows& x, std::int64_t row_idx) {
    std::vector<float> values(static_cast<std::size_t>(x.num_cols));
    for (std::int64_t c = 0; c < x.num_cols; ++c) values[static_cast<std::size_t>(c)] = get(x, row_idx, c);
    return values;
}

}  // namespace eps::kernels
