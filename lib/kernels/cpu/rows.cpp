// embed and pack_rows: gathers of whole rows.
#include "kernels/cpu/ops.hpp"
#include "kernels/cpu/parallel.hpp"
#include "kernels/require.hpp"

#include <cstring>

namespace eps::kernels::cpu {

void embed(std::span<const std::int32_t> ids, Rows table, Rows out, int threads) {
    pack_rows(table, ids, out, threads);
}

void pack_rows(Rows in, std::span<const std::int32_t> index, Rows out, int threads) {
    require(in.dtype == out.dtype && in.num_cols == out.num_cols &&
                index.size() == static_cast<std::size_t>(out.num_rows),
            "pack_rows", "same dtype and width, one index a row", in, out);
    const std::int64_t row_bytes = in.num_cols * bytes_of(in.dtype);
    const std::int64_t in_step = in.stride * bytes_of(in.dtype);
    const std::int64_t out_step = out.stride * bytes_of(out.dtype);
    for_row_blocks(out.num_rows, 2 * row_bytes, threads, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t row = begin; row < end; ++row) {
            const std::int64_t source = index[static_cast<std::size_t>(row)];
            std::memcpy(out.data + row * out_step, in.data + source * in_step,
                        static_cast<std::size_t>(row_bytes));
        }
    });
}

}  // namespace eps::kernels::cpu
