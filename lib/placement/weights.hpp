// Which weights a rank holds, as pieces of the published tensors: what is materialised, counted and read by
// ops.
#pragma once

#include "base/range.hpp"
#include "model/spec.hpp"
#include "placement/placement.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace eps::placement {

enum class WeightRole : std::uint8_t {
    embedding,
    input_norm,
    q_a,
    q_a_bias,
    q_a_norm,
    q_b,
    q,
    kv_a,
    kv_a_bias,
    kv_a_norm,
    kv_b,
    o,
    o_bias,
    post_norm,
    gate_up,
    down,
    router,
    shared_gate_up,
    shared_down,
    expert_gate_up,
    expert_down,
    final_norm,
    lm_head,
};
constexpr std::int64_t kNumWeightRoles = static_cast<std::int64_t>(WeightRole::lm_head) + 1;

/// Rows and columns of one published tensor; a vector is one row.
struct WeightPiece {
    std::string tensor;
    Range rows, columns;
};

/// `num_matrices` matrices of rows x cols (one, or one per local expert), each stacked from the same number
/// of pieces by rows.
struct Weight {
    WeightRole role;
    std::int64_t layer = -1;
    std::int64_t num_matrices = 1;
    std::int64_t rows = 0;
    std::int64_t cols = 0;
    bool gemm = true;                 // read by a GEMM (packed); otherwise kept as plain rows
    std::vector<WeightPiece> pieces;  // matrix after matrix

    std::string name() const;  // "layers.3.expert_gate_up", "lm_head"
};

/// What a scope's pass needs of the model.
struct Extent {
    Range layers;           // decoder layers whose weights are needed at all
    bool embedding = true;  // embedding and head (scope model)
    bool attention = true;  // not for scope moe
};

/// The weights of `rank`. A tp shard without columns (heads, width) is left out: the rank contributes zeros.
std::vector<Weight> weights_of(const Placement& placement, const model::ModelSpec& spec, const Extent& extent,
                               std::int64_t rank);

}  // namespace eps::placement
