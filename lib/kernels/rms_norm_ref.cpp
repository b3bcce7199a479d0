// Twin of rms_norm.
#include "kernels/element.hpp"
#include "kernels/reference_ops.hpp"
#include "kernels/require.hpp"

#include <cmath>

namespace eps::kernels::reference {

void rms_norm(Rows in, Rows weight, double eps, Rows out, int) {
    require(same_shape(in, out), "rms_norm", "in and out of one shape", in, out);
    require(same_dtype(in, weight) && in.num_cols == weight.num_cols, "rms_norm", "weight [1, cols]", in,
            weight);
    for (std::int64_t row = 0; row < in.num_rows; ++row) {
        float sum = 0;
        for (std::int64_t col = 0; col < in.num_cols; ++col) sum += get(in, row, col) * get(in, row, col);
        const float mean = sum / static_cast<float>(in.num_cols);
        const float root = std::sqrt(mean + static_cast<float>(eps));
        for (std::int64_t col = 0; col < in.num_cols; ++col) {
            const float normed = rounded_to(in.dtype, get(in, row, col) / root);
            set(out, row, col, get(weight, 0, col) * normed);
        }
    }
}

}  // namespace eps::kernels::reference
