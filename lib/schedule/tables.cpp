#include "schedule/tables.hpp"

#include "cost/paper_rules.hpp"

#include <algorithm>

#include <fmt/core.h>

namespace eps::schedule {

using plan::Buffer;
using plan::BufferId;
using plan::BufferKind;

namespace {

// The sequences whose last row lies in `owned`, as a range of the group's sequences.
Range last_rows_in(const std::vector<std::int64_t>& starts, Range owned) {
    const auto first_ending_at = [&](std::int64_t row) {  // first sequence whose last row is >= row
        return std::upper_bound(starts.begin() + 1, starts.end(), row) - (starts.begin() + 1);
    };
    return {first_ending_at(owned.begin), first_ending_at(owned.end)};
}

class Declarer {
  public:
    Declarer(const PassSetup& setup, plan::PlanBuilder& builder) : setup_(setup), builder_(builder) {}

    BufferId work(std::string name, std::int64_t cols) {
        return declare(std::move(name), BufferKind::work, setup_.dtype, cols, 0);
    }
    BufferId ints(std::string name, std::int64_t cols) {
        return declare(std::move(name), BufferKind::work, DType::i32, cols, 0);
    }
    BufferId floats(std::string name, std::int64_t cols) {
        return declare(std::move(name), BufferKind::work, DType::f32, cols, 0);
    }
    BufferId input(std::string name, std::int64_t rows, std::int64_t cols) {
        return declare(std::move(name), BufferKind::input, DType::i32, cols, rows);
    }
    BufferId weight(const placement::Weight& weight) {
        return declare(weight.name(), BufferKind::weight, setup_.dtype, weight.cols,
                       weight.num_matrices * weight.rows);
    }

  private:
    BufferId declare(std::string name, BufferKind kind, DType dtype, std::int64_t cols, std::int64_t rows) {
        return builder_.buffer(
            Buffer{.name = std::move(name), .kind = kind, .dtype = dtype, .cols = cols, .rows = rows});
    }

    const PassSetup& setup_;
    plan::PlanBuilder& builder_;
};

LayerWeights no_weights() {
    LayerWeights weights;
    weights.fill(plan::kNoBuffer);
    return weights;
}

void declare_weights(Tables& tables, Declarer& declare) {
    const PassSetup& setup = tables.setup;
    tables.weights =
        placement::weights_of(setup.placement, *setup.spec, extent_of(setup), tables.position.rank);
    tables.layer_weights.assign(static_cast<std::size_t>(setup.spec->num_layers), no_weights());
    tables.model_weights = no_weights();
    for (const placement::Weight& weight : tables.weights) {
        const BufferId id = declare.weight(weight);
        tables.weight_buffers.push_back(id);
        LayerWeights& of_layer = weight.layer < 0
                                     ? tables.model_weights
                                     : tables.layer_weights[static_cast<std::size_t>(weight.layer)];
        of_layer[static_cast<std::size_t>(weight.role)] = id;
    }
}

void declare_work_buffers(Tables& tables, Declarer& declare) {
    const model::ModelSpec& spec = tables.spec();
    const placement::Shards& shards = tables.shards;
    const std::int64_t hidden = spec.hidden_size;
    const std::int64_t heads = shards.heads.size();
    const std::int64_t dense_width = tables.replicated ? shards.dense_width.size() : spec.intermediate_size;
    const std::int64_t shared_width =
        tables.replicated ? shards.shared_width.size() : spec.shared_intermediate_size();
    const std::int64_t expert_width = shards.expert_width.size();
    const std::int64_t k = std::max<std::int64_t>(1, spec.num_experts_per_tok);
    const std::int64_t fields = routing::num_count_fields(tables.per_chunk);
    tables.buffers = WorkBuffers{
        .normed = declare.work("normed", hidden),
        .q_latent = declare.work("q_latent", spec.q_lora_rank),
        .q_latent_normed = declare.work("q_latent_normed", spec.q_lora_rank),
        .q = declare.work("q", heads * spec.qk_head_dim()),
        .kv_a = declare.work("kv_a", spec.kv_lora_rank + spec.qk_rope_head_dim),
        .kv_latent = declare.work("kv_latent", spec.kv_lora_rank),
        .kv = declare.work("kv", heads * (spec.qk_nope_head_dim + spec.v_head_dim)),
        .attended = declare.work("attended", heads * spec.v_head_dim),
        .projected = declare.work("projected", hidden),
        .reduce_scratch = declare.work("reduce_scratch", hidden),
        .reduced = declare.work("reduced", hidden),
        .mlp_up = declare.work("mlp_up", 2 * dense_width),
        .mlp_act = declare.work("mlp_act", dense_width),
        .mlp_out = declare.work("mlp_out", hidden),
        .shared_up = declare.work("shared_up", 2 * shared_width),
        .shared_act = declare.work("shared_act", shared_width),
        .shared_out = declare.work("shared_out", hidden),
        .topk_ids = declare.ints("topk_ids", k),
        .topk_weights = declare.floats("topk_weights", k),
        .counts = declare.ints("counts", fields),
        .all_counts = declare.ints("all_counts", fields),
        .send_order = declare.ints("send_order", 1),
        .sent_slots = declare.ints("sent_slots", tables.block.slot_columns()),
        .arrived_slots = declare.ints("arrived_slots", tables.block.slot_columns()),
        .expert_order = declare.ints("expert_order", 1),
        .reduce_starts = declare.ints("reduce_starts", 1),
        .reduce_index = declare.ints("reduce_index", 1),
        .reduce_weights = declare.floats("reduce_weights", 1),
        .home_starts = declare.ints("home_starts", 1),
        .home_index = declare.ints("home_index", 1),
        .outgoing = declare.work("outgoing", hidden),
        .arrived = declare.work("arrived", hidden),
        .expert_in = declare.work("expert_in", hidden),
        .expert_up = declare.work("expert_up", 2 * expert_width),
        .expert_act = declare.work("expert_act", expert_width),
        .expert_out = declare.work("expert_out", hidden),
        .going_home = declare.work("going_home", hidden),
        .came_home = declare.work("came_home", hidden),
        .last_hidden = declare.work("last_hidden", hidden),
        .last_normed = declare.work("last_normed", hidden),
    };
}

MicroBatchTables make_micro_batch(const Tables& tables, std::size_t index, Declarer& declare) {
    const PassSetup& setup = tables.setup;
    const auto& layout = *setup.layout;
    const auto& group = layout.micro_batches[index].groups[static_cast<std::size_t>(tables.position.dp)];
    MicroBatchTables batch;
    batch.sequences = group.sequences;
    batch.tokens = group.tokens;
    for (std::int64_t s = group.sequences.begin; s <= group.sequences.end; ++s)
        batch.starts.push_back(layout.sequence_starts[static_cast<std::size_t>(s)] - group.tokens.begin);
    for (std::int64_t tp = 0; tp < setup.placement.attention_tp; ++tp) {
        batch.owned_by_tp.push_back(placement::owned_rows(group.tokens.size(), setup.placement, tp));
        batch.last_rows_by_tp.push_back(last_rows_in(batch.starts, batch.owned_by_tp.back()));
    }
    const Range all{0, group.tokens.size()};
    batch.owned = tables.replicated ? all : batch.owned_by_tp[static_cast<std::size_t>(tables.position.tp)];

    const std::string suffix = fmt::format("[{}]", index);
    batch.hidden = declare.work("hidden" + suffix, setup.spec->hidden_size);
    batch.logits = declare.work("logits" + suffix, tables.shards.vocabulary.size());
    batch.token_ids = declare.input("token_ids" + suffix, all.size(), 1);
    batch.positions = declare.input("positions" + suffix, all.size(), 1);
    batch.last_rows = declare.input("last_rows" + suffix, group.sequences.size(), 1);
    const Range layers = layers_of(setup);
    for (std::int64_t layer = 0; layer < setup.spec->num_layers; ++layer) {
        const bool here =
            setup.spec->is_moe(layer) && layers.contains(layer) && tables.shards.layers.contains(layer);
        const std::string name = fmt::format("{}[{}]", suffix, layer);
        batch.forced.push_back(
            here && setup.forced_routing
                ? declare.input("forced_ids" + name, batch.owned.size(), setup.spec->num_experts_per_tok)
                : plan::kNoBuffer);
        batch.known_counts.push_back(here && setup.schedule.oracle
                                         ? declare.input("known_counts" + name,
                                                         tables.block.num_ranks() * tables.block.num_experts,
                                                         routing::num_count_fields(tables.per_chunk))
                                         : plan::kNoBuffer);
    }
    return batch;
}

Lanes declare_lanes(const PassSetup& setup, plan::PlanBuilder& builder) {
    const placement::Placement& placement = setup.placement;
    Lanes lanes;
    lanes.compute = builder.lane("compute", false);
    if (!placement.rows_replicated()) {
        lanes.dispatch = builder.lane("dispatch", true);
        lanes.combine = builder.lane("combine", true);
    }
    if (placement.attention_tp > 1) lanes.tensor = builder.lane("tensor", true);
    if (placement.pp > 1) {
        lanes.stage_in = builder.lane("stage_in", true);
        lanes.stage_out = builder.lane("stage_out", true);
    }
    return lanes;
}

}  // namespace

Range layers_of(const PassSetup& setup) {
    if (setup.scope != Scope::moe) return {0, setup.spec->num_layers};
    const std::int64_t layer = setup.spec->first_moe_layer();
    return {layer, layer + 1};
}

placement::Extent extent_of(const PassSetup& setup) {
    return {layers_of(setup), setup.scope == Scope::model, setup.scope != Scope::moe};
}

Tables make_tables(const PassSetup& setup, std::int64_t rank, plan::PlanBuilder& builder) {
    const model::ModelSpec& spec = *setup.spec;
    const placement::Placement& placement = setup.placement;
    Tables tables;
    tables.setup = setup;
    tables.position = placement::position_of(placement, rank);
    tables.shards = placement::shards_of(placement, spec, rank);
    tables.replicated = placement.rows_replicated();
    tables.per_chunk = !tables.replicated && setup.schedule.combine == Combine::per_chunk;
    tables.block = {spec.n_routed_experts, placement.ep, placement.etp,
                    std::max<std::int64_t>(1, spec.num_experts_per_tok)};
    tables.block_rank = tables.position.ep * placement.etp + tables.position.etp;
    const std::int64_t most_experts = (spec.n_routed_experts + placement.ep - 1) / placement.ep;
    if (!tables.replicated && setup.schedule.chunk_by == ChunkBy::expert) {
        tables.chunks_by_load = !setup.schedule.chunks && setup.times != nullptr && !tables.per_chunk;
        tables.num_chunks = tables.chunks_by_load
                                ? std::max<std::int64_t>(1, most_experts)
                                : setup.schedule.chunks.value_or(cost::paper_chunks(most_experts));
    }

    tables.lanes = declare_lanes(setup, builder);
    Declarer declare(setup, builder);
    declare_weights(tables, declare);
    declare_work_buffers(tables, declare);
    for (std::size_t i = 0; i < setup.layout->micro_batches.size(); ++i)
        tables.micro_batches.push_back(make_micro_batch(tables, i, declare));
    return tables;
}

}  // namespace eps::schedule
