// swiglu: one pass over both halves of a row.
#include "kernels/cpu/ops.hpp"
#include "kernels/cpu/parallel.hpp"
#include "kernels/cpu/simd.hpp"
#include "kernels/require.hpp"

namespace eps::kernels::cpu {
namespace {

template <typename T>
void swiglu_rows(Rows in, Rows out, std::int64_t begin, std::int64_t end) {
    vectorised([=]() EPS_INLINE {
        const std::int64_t width = out.num_cols;
        for (std::int64_t row = begin; row < end; ++row) {
            const T* gate = in.row<T>(row);
            const T* up = gate + width;
            T* y = out.row<T>(row);
#pragma omp simd
            for (std::int64_t c = 0; c < width; ++c) store(y + c, silu(load(gate + c)) * load(up + c));
        }
    });
}

}  // namespace

void swiglu(Rows in, Rows out, int threads) {
    require(same_dtype(in, out) && in.num_rows == out.num_rows && in.num_cols == 2 * out.num_cols, "swiglu",
            "in [m, 2w], out [m, w]", in, out);
    const std::int64_t row_bytes = 3 * out.num_cols * bytes_of(out.dtype);
    for_row_blocks(out.num_rows, row_bytes, threads, [&](std::int64_t begin, std::int64_t end) {
        with_float_type(out.dtype, [&]<typename T>() { swiglu_rows<T>(in, out, begin, end); });
    });
}

}  // namespace eps::kernels::cpu
