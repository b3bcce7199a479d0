// The arithmetic of a pass on device memory: one function per op kind, each enqueued on a stream. The twins
// of kernels.hpp define what they compute (reference_kernels()); rules of design section 6 hold: f32
// accumulation, an order of sums that depends on shapes only, one rounding to the output's dtype.
//
// All pointers and Rows are device memory, dtype f32 or bf16. Zero rows are legal. A launch that fails throws
// Error(internal); errors of a running kernel show at the next synchronisation.
#pragma once

#include "base/range.hpp"
#include "base/rows.hpp"
#include "kernels/kernels.hpp"

#include <cstdint>
#include <span>

struct CUstream_st;

namespace eps::kernels::device {

using Stream = CUstream_st*;

/// Parts that one sum_rows takes.
inline constexpr std::int64_t kMostParts = 16;
/// Ranges that one launch of gather_ranges takes.
inline constexpr std::int64_t kMostRanges = 128;
/// Experts that gate_choice takes: each lane of a warp holds its share in registers.
inline constexpr std::int64_t kMostExperts = 512;

/// Rows of an output that go elsewhere: row rows.begin + i of it to row i of `to`.
struct Apart {
    Range rows;
    Rows to;
};

/// out[i] = in[index[i]]: embedding rows and packed rows alike.
void gather_rows(Stream stream, Rows in, const std::int32_t* index, Rows out);

/// The same for the rows i of `ranges` alone, pairs of begin and end.
void gather_ranges(Stream stream, Rows in, const std::int32_t* index, std::span<const std::int64_t> ranges,
                   Rows out, const Apart& apart = {});

void rms_norm(Stream stream, Rows in, Rows weight, double eps, Rows out);

/// x[i] += bias.
void add_bias(Stream stream, Rows bias, Rows x);

/// `cos_sin` [positions, 2 * num_pairs] f32: cos and sin of each pair's angle, times the factor on both.
void rope(Stream stream, Rows x, const std::int32_t* positions, const float* cos_sin, std::int64_t num_pairs,
          std::int64_t num_heads, std::int64_t head_stride, std::int64_t offset);

void swiglu(Stream stream, Rows in, Rows out);

/// Of columns as interleaved.hpp has them: is_interleaved(), rows in whole vectors of 16 bytes.
void swiglu_interleaved(Stream stream, Rows in, Rows out);

void local_reduce(Stream stream, Rows in, const std::int32_t* starts, const std::int32_t* index,
                  const float* weights, Rows out, const Apart& apart = {});

/// `starts` and `index` null: row i of `in` is the one partial sum of row i. `shared`, `residual` may be
/// null.
void unpack_sum(Stream stream, Rows in, const std::int32_t* starts, const std::int32_t* index,
                const Rows* shared, const Rows* residual, Rows out);

void sum_rows(Stream stream, std::span<const Rows> parts, Rows out);

/// The gate after its logits [rows, num_experts] f32: softmax, choice, weights (args as kernels.hpp has
/// them).
void gate_choice(Stream stream, const float* logits, std::int64_t num_rows, std::int64_t num_experts,
                 const GateArgs& args, std::int32_t* ids, float* weights);

/// The gate's logits in f32 by plain fused multiply-adds: out [rows, experts] = in weight^T. The twin of the
/// tensor-core product, and what f32 rows use.
void gate_logits(Stream stream, Rows in, Rows weight, float* logits);

/// The plain twin and fallback of the library's attention: `starts` [num_sequences + 1] on the device,
/// `longest` the length of the longest sequence.
void attention(Stream stream, Rows q, Rows kv, Rows k_rope, const std::int64_t* starts,
               std::int64_t num_sequences, std::int64_t longest, const AttentionArgs& args, Rows out);

/// Synthetic weights: out[i][j] = mean + deviation * normal(key, (first_row + i) * tensor_cols + first_col +
/// j), the values of checkpoint/synthetic.hpp bit for bit.
void fill_normal(Stream stream, std::uint64_t key, float mean, float deviation, std::int64_t tensor_cols,
                 std::int64_t first_row, std::int64_t first_col, Rows out);

}  // namespace eps::kernels::device
