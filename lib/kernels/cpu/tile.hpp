// The inner product kernel of attention and gate: six rows against a panel of up to 64 columns.
// Every element is one chain of multiply-adds in ascending depth, whatever the shape around it: its bits
// depend on its own row and column only. (GEMMs with weights go to oneDNN, whose order depends on the shape.)
#pragma once

#include "base/dtype.hpp"

#include <cstdint>

namespace eps::kernels {

constexpr std::int64_t kTileRows = 6;  // x 4 vectors of 16: 24 of the 32 registers hold sums
constexpr std::int64_t kPanelCols = 64;
constexpr std::int64_t kLanes = 16;  // columns are computed in multiples of this

constexpr std::int64_t round_up(std::int64_t value, std::int64_t multiple) {
    return (value + multiple - 1) / multiple * multiple;
}

/// How many neighbours in depth lie side by side in a panel: bf16 is multiplied in pairs.
template <typename T>
constexpr std::int64_t kDepthPack = sizeof(float) / sizeof(T);

/// Whether this machine multiplies bf16 pairs; where not, bf16 operands are widened before they are packed.
bool has_bf16_tiles();

/// c [6, 16*num_vectors] (+)= a [6, depth] panel [depth, 64]. Panel element (d, col) lies at
/// (d / pack * 64 + col) * pack + d % pack. depth is a multiple of the pack; all six rows are read and
/// written. Strides in elements. `accumulate`: the finished sum is added to c.
void multiply_tile(const float* a, std::int64_t a_stride, const float* panel, std::int64_t depth, float* c,
                   std::int64_t c_stride, std::int64_t num_vectors, bool accumulate);
/// Needs has_bf16_tiles().
void multiply_tile(const Bf16* a, std::int64_t a_stride, const Bf16* panel, std::int64_t depth, float* c,
                   std::int64_t c_stride, std::int64_t num_vectors, bool accumulate);

/// Columns of a panel from rows: `rows` [64, depth] (depth a multiple of 16 * pack), row r becomes column r.
/// All 64 rows are read.
void transpose_into_panel(const float* rows, std::int64_t depth, float* panel);
void transpose_into_panel(const Bf16* rows, std::int64_t depth, Bf16* panel);

/// The next depth of a panel from rows that are already columns side by side: one row of 64, or a pair for
/// bf16.
void interleave_into_panel(const float* rows, std::int64_t stride, float* panel);
void interleave_into_panel(const Bf16* rows, std::int64_t stride, Bf16* panel);

}  // namespace eps::kernels
