// rms_norm: one pass for the sum of squares, one for the result while the row is in cache.
#include "kernels/cpu/ops.hpp"
#include "kernels/cpu/parallel.hpp"
#include "kernels/cpu/simd.hpp"
#include "kernels/require.hpp"

#include <cmath>

namespace eps::kernels::cpu {
namespace {

template <typename T>
void rms_norm_rows(Rows in, Rows weight, float eps, Rows out, std::int64_t begin, std::int64_t end) {
    vectorised([=]() EPS_INLINE {
        const std::int64_t num_cols = in.num_cols;
        const T* w = weight.row<T>(0);
        for (std::int64_t row = begin; row < end; ++row) {
            const T* x = in.row<T>(row);
            T* y = out.row<T>(row);
            float sum = 0;
#pragma omp simd reduction(+ : sum)
            for (std::int64_t c = 0; c < num_cols; ++c) sum += load(x + c) * load(x + c);
            const float scale = 1.0F / __builtin_sqrtf(sum / static_cast<float>(num_cols) + eps);
#pragma omp simd
            for (std::int64_t c = 0; c < num_cols; ++c)
                store(y + c, load(w + c) * rounded<T>(load(x + c) * scale));
        }
    });
}

}  // namespace

void rms_norm(Rows in, Rows weight, double eps, Rows out, int threads) {
    require(same_shape(in, out), "rms_norm", "in and out of one shape", in, out);
    require(same_dtype(in, weight) && in.num_cols == weight.num_cols, "rms_norm", "weight [1, cols]", in,
            weight);
    const std::int64_t row_bytes = 2 * in.num_cols * bytes_of(in.dtype);
    for_row_blocks(in.num_rows, row_bytes, threads, [&](std::int64_t begin, std::int64_t end) {
        with_float_type(in.dtype, [&]<typename T>() {
            rms_norm_rows<T>(in, weight, static_cast<float>(eps), out, begin, end);
        });
    });
}

}  // namespace eps::kernels::cpu
