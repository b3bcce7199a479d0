// local_reduce, unpack_sum, sum_rows: f32 sums of rows in a fixed order, one rounding.
// A stretch of columns at a time, its sums in the first-level cache.
#include "kernels/cpu/ops.hpp"
#include "kernels/cpu/parallel.hpp"
#include "kernels/cpu/simd.hpp"
#include "kernels/require.hpp"

namespace eps::kernels::cpu {
namespace {

constexpr std::int64_t kStretch = 1024;

template <typename T>
EPS_INLINE inline void add(float* sums, const T* x, std::int64_t count) {
#pragma omp simd
    for (std::int64_t c = 0; c < count; ++c) sums[c] += load(x + c);
}

template <typename T>
EPS_INLINE inline void add_scaled(float* sums, float weight, const T* x, std::int64_t count) {
#pragma omp simd
    for (std::int64_t c = 0; c < count; ++c) sums[c] += weight * load(x + c);
}

EPS_INLINE inline void clear(float* sums, std::int64_t count) {
#pragma omp simd
    for (std::int64_t c = 0; c < count; ++c) sums[c] = 0;
}

template <typename T>
EPS_INLINE inline void write(T* y, const float* sums, std::int64_t count) {
#pragma omp simd
    for (std::int64_t c = 0; c < count; ++c) store(y + c, sums[c]);
}

/// What is added to a row: entries [starts[row], starts[row + 1]) of `index`, then whole rows of `more`.
struct Terms {
    Rows in;
    const std::int32_t* starts;
    const std::int32_t* index;
    const float* weights;  // of the entries; null: 1
    const Rows* more;
    std::int64_t num_more;
};

template <typename T>
void sum_terms(const Terms& terms, Rows out, std::int64_t begin, std::int64_t end) {
    vectorised([=]() EPS_INLINE {
        alignas(64) float sums[kStretch];
        for (std::int64_t row = begin; row < end; ++row) {
            const std::int32_t first = terms.starts == nullptr ? 0 : terms.starts[row];
            const std::int32_t last = terms.starts == nullptr ? 0 : terms.starts[row + 1];
            for (std::int64_t col = 0; col < out.num_cols; col += kStretch) {
                const std::int64_t count = out.num_cols - col < kStretch ? out.num_cols - col : kStretch;
                clear(sums, count);
                for (std::int32_t j = first; j < last; ++j) {
                    const T* x = terms.in.row<T>(terms.index[j]) + col;
                    if (terms.weights == nullptr)
                        add(sums, x, count);
                    else
                        add_scaled(sums, terms.weights[j], x, count);
                }
                for (std::int64_t i = 0; i < terms.num_more; ++i) {
                    const Rows part = terms.more[i];
                    add(sums, part.row<T>(row) + col, count);
                }
                write(out.row<T>(row) + col, sums, count);
            }
        }
    });
}

void sum(const Terms& terms, std::int64_t num_entries, Rows out, int threads) {
    if (out.num_rows == 0) return;
    const std::int64_t rows_per_row = 2 + terms.num_more + num_entries / out.num_rows;
    const std::int64_t row_bytes = rows_per_row * out.num_cols * bytes_of(out.dtype);
    for_row_blocks(out.num_rows, row_bytes, threads, [&](std::int64_t begin, std::int64_t end) {
        with_float_type(out.dtype, [&]<typename T>() { sum_terms<T>(terms, out, begin, end); });
    });
}

}  // namespace

void local_reduce(Rows in, std::span<const std::int32_t> starts, std::span<const std::int32_t> index,
                  std::span<const float> weights, Rows out, int threads) {
    require(same_dtype(in, out) && in.num_cols == out.num_cols, "local_reduce", "one dtype and width", in,
            out);
    require(are_starts(starts, out.num_rows, index.size()) && weights.size() == index.size(), "local_reduce",
            "one list of entries a row", in, out);
    const Terms terms{in, starts.data(), index.data(), weights.data(), nullptr, 0};
    sum(terms, static_cast<std::int64_t>(index.size()), out, threads);
}

void unpack_sum(Rows in, std::span<const std::int32_t> starts, std::span<const std::int32_t> index,
                const Rows* shared, const Rows* residual, Rows out, int threads) {
    require(same_dtype(in, out) && in.num_cols == out.num_cols, "unpack_sum", "one dtype and width", in, out);
    require(are_starts(starts, out.num_rows, index.size()), "unpack_sum", "one list of entries a row", in,
            out);
    if (shared != nullptr) require(same_shape(*shared, out), "unpack_sum", "shared like out", *shared, out);
    if (residual != nullptr)
        require(same_shape(*residual, out), "unpack_sum", "residual like out", *residual, out);
    Rows more[2];
    std::int64_t num_more = 0;
    if (shared != nullptr) more[num_more++] = *shared;
    if (residual != nullptr) more[num_more++] = *residual;
    const Terms terms{in, starts.data(), index.data(), nullptr, more, num_more};
    sum(terms, static_cast<std::int64_t>(index.size()), out, threads);
}

void sum_rows(std::span<const Rows> parts, Rows out, int threads) {
    for (const Rows& part : parts) require(same_shape(part, out), "sum_rows", "parts like out", part, out);
    const Terms terms{{}, nullptr, nullptr, nullptr, parts.data(), static_cast<std::int64_t>(parts.size())};
    sum(terms, 0, out, threads);
}

}  // namespace eps::kernels::cpu
