// The arithmetic of a pass on host memory: one function per op kind, gathered in a table.
// Two tables exist, the slow obvious twin here and the fast one in cpu/ (oneDNN, OpenMP, SIMD); they are
// tested against each other. cuda/ has the same functions on device memory. Rules of design section 6 hold
// for both: f32 accumulation, fixed order, one rounding to the output's dtype.
#pragma once

#include "base/range.hpp"
#include "base/rows.hpp"

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace eps::kernels {

/// A weight matrix [n, k] (out, in) in the form its GEMM reads, made once from plain rows.
class GemmWeight {
  public:
    virtual ~GemmWeight() = default;
    virtual std::int64_t n() const = 0;
    virtual std::int64_t k() const = 0;
    virtual std::int64_t bytes() const = 0;
};

enum class GemmKind : std::uint8_t {
    dense,  // one expert after another, each on all threads
    group,  // the experts of a chunk side by side, one thread each
};

/// One expert's share of a grouped GEMM: `rows` of input and output (the same row numbers in both). May be
/// empty.
struct ExpertRows {
    const GemmWeight* weight = nullptr;
    Range rows;
};

/// Rotary angles of `num_pairs` interleaved pairs: inverse frequencies (YaRN applied) and the factor on cos
/// and sin.
struct RopeTable {
    std::vector<double> inverse_frequencies;
    double cos_sin_factor = 1;
};

struct GateArgs {
    std::int64_t top_k = 1;
    std::int64_t n_group = 1;
    std::int64_t topk_group = 1;  // group-limited when n_group > 1: group score = max of its experts
    bool norm_topk_prob = false;  // divide by (sum + 1e-20) when top_k > 1, and then no scaling factor
    double routed_scaling_factor = 1;
    bool forced =
        false;  // ids are given: only their weights are computed, then slots sorted like chosen ones
};

struct AttentionArgs {
    std::int64_t num_heads = 0;
    std::int64_t nope_dim = 0;
    std::int64_t rope_dim = 0;
    std::int64_t v_dim = 0;
    double scale = 0;  // > 0
};

/// Every function: shapes in rows x columns; dtype of Rows is f32 or bf16 unless said; `threads` >= 1 compute
/// threads. Zero rows are legal everywhere. Inputs and outputs do not overlap unless said.
struct Kernels {
    std::string name;  // "oneDNN 2.6.3 ..." or "reference"
    /// What the GEMM really runs on this machine for this dtype, e.g. "brg:avx512_core_bf16" (for the
    /// report).
    std::string (*describe_gemm)(DType dtype);

    /// Bytes that `pack` of an [n, k] weight will take, without making it.
    std::int64_t (*packed_bytes)(DType dtype, std::int64_t n, std::int64_t k);
    /// From plain rows [n, k] (f32 or bf16, which becomes the GEMM's dtype).
    std::unique_ptr<GemmWeight> (*pack)(Rows weight);

    /// out[i] = table[ids[i]]
    void (*embed)(std::span<const std::int32_t> ids, Rows table, Rows out, int threads);
    /// out = weight * (in / sqrt(mean(in^2) + eps)): statistics in f32, cast to dtype before the product with
    /// `weight` [1, cols].
    void (*rms_norm)(Rows in, Rows weight, double eps, Rows out, int threads);
    /// out [m, n] = in [m, k] weight^T (+ bias [1, n]); the algorithm depends on (m, n, k, dtype, threads)
    /// only.
    void (*linear)(Rows in, const GemmWeight& weight, const Rows* bias, Rows out, int threads);
    /// out.rows = in.rows weight^T for each expert; result of an expert depends on (kind, its rows, n, k,
    /// dtype, threads) only.
    void (*expert_gemm)(Rows in, std::span<const ExpertRows> experts, GemmKind kind, Rows out, int threads);
    /// In place: rotates the interleaved pairs (2i, 2i+1) of columns [h*head_stride + offset, ... + rope_dim)
    /// of every head h by position positions[row]: (a, b) -> (a cos - b sin, a sin + b cos), in f32, one
    /// rounding.
    void (*rope)(Rows x, std::span<const std::int32_t> positions, const RopeTable& table,
                 std::int64_t num_heads, std::int64_t head_stride, std::int64_t offset, int threads);
    /// Causal MLA attention, one sequence after another: rows [starts[s], starts[s+1]) are sequence s.
    /// q [T, heads*(nope+rope)] (per head: nope, rope); kv [T, heads*(nope+v)] (per head: key nope, value);
    /// k_rope [T, rope] shared by all heads; out [T, heads*v]. Softmax in f32; probabilities rounded to dtype
    /// before the product with V.
    void (*attention)(Rows q, Rows kv, Rows k_rope, std::span<const std::int64_t> starts,
                      const AttentionArgs& args, Rows out, int threads);
    /// logits = f32(in) f32(weight)^T with weight [experts, cols] plain rows; softmax in f32 over all
    /// experts; choice. ids [T, top_k] i32 and weights [T, top_k] f32, slots by descending score, ties to the
    /// lower id (forced: ids is also input).
    void (*gate)(Rows in, Rows weight, const GateArgs& args, std::int32_t* ids, float* weights, int threads);
    /// in [m, 2w] = gate | up -> out [m, w] = silu(gate) * up, f32 inside, one rounding.
    void (*swiglu)(Rows in, Rows out, int threads);
    /// out[i] = in[index[i]]
    void (*pack_rows)(Rows in, std::span<const std::int32_t> index, Rows out, int threads);
    /// LocalReduce: out[i] = sum over j in [starts[i], starts[i+1]) of weights[j] * in[index[j]], in that
    /// order, f32, one rounding.
    void (*local_reduce)(Rows in, std::span<const std::int32_t> starts, std::span<const std::int32_t> index,
                         std::span<const float> weights, Rows out, int threads);
    /// out[i] = sum over j in [starts[i], starts[i+1]) of in[index[j]] (+ shared[i]) (+ residual[i]), in that
    /// order, f32, one rounding. `shared`, `residual` may be null; `out` may be `residual`.
    void (*unpack_sum)(Rows in, std::span<const std::int32_t> starts, std::span<const std::int32_t> index,
                       const Rows* shared, const Rows* residual, Rows out, int threads);
    /// out[i] = sum of parts[p][i] in order p, f32, one rounding. `out` may be one of the parts or none.
    void (*sum_rows)(std::span<const Rows> parts, Rows out, int threads);
};

/// The twin: plain loops, one thread.
const Kernels& reference_kernels();

}  // namespace eps::kernels
