// Twin of swiglu.
#include "kernels/element.hpp"
#include "kernels/reference_ops.hpp"
#include "kernels/require.hpp"

#include <cmath>

namespace eps::kernels::reference {

void swiglu(Rows in, Rows out, int) {
    require(same_dtype(in, out) && in.num_rows == out.num_rows && in.num_cols == 2 * out.num_cols, "swiglu",
            "in [m, 2w], out [m, w]", in, out);
    for (std::int64_t row = 0; row < out.num_rows; ++row) {
        for (std::int64_t col = 0; col < out.num_cols; ++col) {
            const float gate = get(in, row, col);
            const float up = get(in, row, out.num_cols + col);
            set(out, row, col, gate / (1 + std::exp(-gate)) * up);
        }
    }
}

}  // namespace eps::kernels::reference
