// Twins of embed and pack_rows: copies of rows.
#include "kernels/element.hpp"
#include "kernels/reference_ops.hpp"
#include "kernels/require.hpp"

namespace eps::kernels::reference {

void embed(std::span<const std::int32_t> ids, Rows table, Rows out, int threads) {
    pack_rows(table, ids, out, threads);
}

void pack_rows(Rows in, std::span<const std::int32_t> index, Rows out, int) {
    require(in.dtype == out.dtype && in.num_cols == out.num_cols &&
                index.size() == static_cast<std::size_t>(out.num_rows),
            "pack_rows", "same dtype and width, one index a row", in, out);
    for (std::int64_t row = 0; row < out.num_rows; ++row) {
        for (std::int64_t col = 0; col < out.num_cols; ++col) {
            set(out, row, col, get(in, index[static_cast<std::size_t>(row)], col));
        }
    }
}

}  // namespace eps::kernels::reference
