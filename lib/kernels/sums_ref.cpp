// Twins of the sums over rows: local_reduce, unpack_sum, sum_rows.
#include "kernels/element.hpp"
#include "kernels/reference_ops.hpp"
#include "kernels/require.hpp"

namespace eps::kernels::reference {

void local_reduce(Rows in, std::span<const std::int32_t> starts, std::span<const std::int32_t> index,
                  std::span<const float> weights, Rows out, int) {
    require(same_dtype(in, out) && in.num_cols == out.num_cols, "local_reduce", "one dtype and width", in,
            out);
    require(are_starts(starts, out.num_rows, index.size()) && weights.size() == index.size(), "local_reduce",
            "one list of entries a row", in, out);
    for (std::size_t row = 0; row + 1 < starts.size(); ++row) {
        for (std::int64_t col = 0; col < out.num_cols; ++col) {
            float sum = 0;
            for (auto j = static_cast<std::size_t>(starts[row]);
                 j < static_cast<std::size_t>(starts[row + 1]); ++j) {
                sum += weights[j] * get(in, index[j], col);
            }
            set(out, static_cast<std::int64_t>(row), col, sum);
        }
    }
}

void unpack_sum(Rows in, std::span<const std::int32_t> starts, std::span<const std::int32_t> index,
                const Rows* shared, const Rows* residual, Rows out, int) {
    require(same_dtype(in, out) && in.num_cols == out.num_cols, "unpack_sum", "one dtype and width", in, out);
    require(are_starts(starts, out.num_rows, index.size()), "unpack_sum", "one list of entries a row", in,
            out);
    if (shared != nullptr) require(same_shape(*shared, out), "unpack_sum", "shared like out", *shared, out);
    if (residual != nullptr)
        require(same_shape(*residual, out), "unpack_sum", "residual like out", *residual, out);
    for (std::int64_t row = 0; row < out.num_rows; ++row) {
        const auto first = static_cast<std::size_t>(starts[static_cast<std::size_t>(row)]);
        const auto last = static_cast<std::size_t>(starts[static_cast<std::size_t>(row) + 1]);
        for (std::int64_t col = 0; col < out.num_cols; ++col) {
            float sum = 0;
            for (std::size_t j = first; j < last; ++j) sum += get(in, index[j], col);
            if (shared != nullptr) sum += get(*shared, row, col);
            if (residual != nullptr) sum += get(*residual, row, col);
            set(out, row, col, sum);
        }
    }
}

void sum_rows(std::span<const Rows> parts, Rows out, int) {
    for (const Rows& part : parts) require(same_shape(part, out), "sum_rows", "parts like out", part, out);
    for (std::int64_t row = 0; row < out.num_rows; ++row) {
        for (std::int64_t col = 0; col < out.num_cols; ++col) {
            float sum = 0;
            for (const Rows& part : parts) sum += get(part, row, col);
            set(out, row, col, sum);
        }
    }
}

}  // namespace eps::kernels::reference
