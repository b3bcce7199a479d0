// Everything about a case that is known before any row is routed, for one rank: what lowering reads.
#pragma once

#include "base/dtype.hpp"
#include "base/link.hpp"
#include "base/range.hpp"
#include "cost/op_times.hpp"
#include "model/spec.hpp"
#include "placement/placement.hpp"
#include "placement/weights.hpp"
#include "plan/builder.hpp"
#include "routing/row_maps.hpp"
#include "schedule/schedule.hpp"

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

namespace eps::schedule {

/// A case as the pass sees it. `spec` and `layout` outlive the tables.
struct PassSetup {
    const model::ModelSpec* spec = nullptr;
    const placement::TokenLayout* layout = nullptr;
    placement::Placement placement;
    Schedule schedule;
    Scope scope = Scope::model;
    DType dtype = DType::f32;
    bool forced_routing = false;
    std::optional<Link> link = {};  // the wire between ranks, where it is emulated or modelled
    /// What "auto" decides by, the same on every rank; without it the paper's fixed rules hold. Outlives the
    /// tables.
    const cost::OpTimes* times = nullptr;
};

/// A pass's decoder layers: all, or for scope moe the first MoE layer alone.
Range layers_of(const PassSetup& setup);
placement::Extent extent_of(const PassSetup& setup);

/// Lanes; -1 where the placement needs none.
struct Lanes {
    plan::LaneId compute = -1;
    plan::LaneId dispatch = -1;   // rows on their way to the experts, their counts and maps
    plan::LaneId combine = -1;    // rows on their way home
    plan::LaneId tensor = -1;     // reduce-scatter and all-gather of the tp group
    plan::LaneId stage_in = -1;   // rows from the previous pipeline stage
    plan::LaneId stage_out = -1;  // and to the next
};

/// Work buffers shared by all layers and micro-batches; [rows, columns] in the comment, T rows of the dp
/// group, R owned ones.
struct WorkBuffers {
    plan::BufferId normed;                        // [T, hidden]
    plan::BufferId q_latent, q_latent_normed, q;  // [T, q_lora], same, [T, heads * qk]
    plan::BufferId kv_a, kv_latent, kv;       // [T, kv_lora + rope], [T, kv_lora], [T, heads * (nope + v)]
    plan::BufferId attended, projected;       // [T, heads * v], [T, hidden]
    plan::BufferId reduce_scratch, reduced;   // [tp * own rows, hidden], [T, hidden]
    plan::BufferId mlp_up, mlp_act, mlp_out;  // [R, 2 * width], [R, width], [R, hidden]
    plan::BufferId shared_up, shared_act, shared_out;      // same for the shared experts
    plan::BufferId topk_ids, topk_weights;                 // [R, k] i32, f32
    plan::BufferId counts, all_counts;                     // [E, fields], [block ranks * E, fields] i32
    plan::BufferId send_order, sent_slots, arrived_slots;  // i32, see routing/row_maps.hpp
    plan::BufferId expert_order, reduce_starts, reduce_index, reduce_weights;
    plan::BufferId home_starts, home_index;
    plan::BufferId outgoing, arrived;  // [sent rows, hidden], [arrived rows, hidden]
    plan::BufferId expert_in, expert_up, expert_act,
        expert_out;                           // [expert rows, hidden | 2 * width | width | hidden]
    plan::BufferId going_home, came_home;     // [sums, hidden]
    plan::BufferId last_hidden, last_normed;  // [sequences, hidden], same
};

/// One micro-batch on this rank. Row numbers are local: 0 is the first token of the dp group.
struct MicroBatchTables {
    Range sequences;                      // of the dp group, batch numbers
    Range tokens;                         // of the dp group, global token numbers
    Range owned;                          // local rows that this rank owns (all, where rows are replicated)
    std::vector<std::int64_t> starts;     // local first row of each sequence, and the end
    std::vector<Range> owned_by_tp;       // of every tp rank
    std::vector<Range> last_rows_by_tp;   // which of the sequences end in them
    plan::BufferId hidden;                // work, [T, hidden]: the residual stream
    plan::BufferId logits;                // work, [sequences, vocabulary shard]
    plan::BufferId token_ids, positions;  // input, [T, 1] i32
    plan::BufferId last_rows;             // input, [sequences, 1] i32
    std::vector<plan::BufferId> forced;   // input per layer, [R, k] i32; kNoBuffer unless forced
    std::vector<plan::BufferId>
        known_counts;  // input per layer, oracle only: what exchange_counts would have brought

    std::int64_t num_tokens() const { return tokens.size(); }
    std::int64_t num_sequences() const { return sequences.size(); }
};

using LayerWeights = std::array<plan::BufferId, placement::kNumWeightRoles>;

struct Tables {
    PassSetup setup;
    placement::Position position;
    placement::Shards shards;
    bool replicated = false;
    bool per_chunk = false;
    std::int64_t num_chunks = 1;  // of a rank's experts, as many in each; chosen by load: at most
    bool chunks_by_load = false;
    routing::BlockShape block;
    std::int64_t block_rank = 0;  // this rank's place in its block
    Lanes lanes;
    WorkBuffers buffers;
    std::vector<MicroBatchTables> micro_batches;
    std::vector<placement::Weight> weights;  // in the order of weight_buffers
    std::vector<plan::BufferId> weight_buffers;
    std::vector<LayerWeights> layer_weights;  // per layer of the model; kNoBuffer where not held
    LayerWeights model_weights;               // embedding, final_norm, lm_head

    const model::ModelSpec& spec() const { return *setup.spec; }
    plan::BufferId weight(std::int64_t layer, placement::WeightRole role) const {
        const LayerWeights& of_layer =
            layer < 0 ? model_weights : layer_weights[static_cast<std::size_t>(layer)];
        return of_layer[static_cast<std::size_t>(role)];
    }
};

/// Declares lanes and buffers in `builder` (empty so far) and fills the tables of `rank`. The order of
/// declaration depends on the same for the weights of all cases that share a placement and scope, so such
/// cases can share them.
Tables make_tables(const PassSetup& setup, std::int64_t rank, plan::PlanBuilder& builder);

}  // namespace eps::schedule
