// The order in which the rows of an expert's gate and up lie in GPU memory, so that the GroupGemm of both can
// write silu(gate) * up straight from its accumulators.
//
// A thread of a tensor-core product holds columns 8 j + 2 q and 8 j + 2 q + 1 of its rows, for all j and one
// q of 0 to 3. Here these two are gate and up of one output, and the outputs of eight neighbouring j follow
// each other: 16 bytes of bf16. The order repeats after 64 columns.
#pragma once

#include "base/dtype.hpp"

#include <cstdint>

namespace eps::kernels::device {

inline constexpr std::int64_t kInterleavedRows = 64;  // 32 of gate, 32 of up

/// Whether gate and up, `num_rows` together, lie so; otherwise gate comes first, then up.
constexpr bool is_interleaved(DType dtype, std::int64_t num_rows) {
    return dtype == DType::bf16 && num_rows % kInterleavedRows == 0;
}

/// Row r of an interleaved weight, column r of its product, is gate (r even) or up (r odd) of this output.
constexpr std::int64_t output_of(std::int64_t r) {
    return r / 64 * 32 + r / 2 % 4 * 8 + r / 8 % 8;
}

}  // namespace eps::kernels::device
