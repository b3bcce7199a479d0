// Lowering of everything around the experts: stages, embedding, attention, dense MLP, head (deepseek_v2 order
// of operations).
#include "schedule/lowering.hpp"

namespace eps::schedule {

using placement::WeightRole;
using plan::kNoBuffer;
using plan::reads;
using plan::Slice;
using plan::writes;

namespace {

constexpr double kLatentNormEps =
    1e-6;  // q_a and kv_a layernorm keep the class default, whatever the config says

}  // namespace

void Lowering::stage_in(const MicroBatchTables& batch) {
    if (batch.owned.empty()) return;
    const Slice rows = owned_hidden(batch);
    const std::int64_t peer = tables_.position.rank - tables_.setup.placement.stage_size();
    builder_.add(tables_.lanes.stage_in, plan::Receive{peer, rows}, {writes(rows)});
}

void Lowering::stage_out(const MicroBatchTables& batch) {
    if (batch.owned.empty()) return;
    const Slice rows = owned_hidden(batch);
    const std::int64_t peer = tables_.position.rank + tables_.setup.placement.stage_size();
    builder_.add(tables_.lanes.stage_out, plan::Send{peer, rows}, {reads(rows)});
}

void Lowering::embed(const MicroBatchTables& batch) {
    const Range all{0, batch.num_tokens()};
    if (all.empty()) return;
    const Slice ids{batch.token_ids, all}, out{batch.hidden, all};
    const plan::BufferId table = tables_.weight(-1, WeightRole::embedding);
    builder_.add(tables_.lanes.compute, plan::Embed{ids, table, out},
                 {reads(ids), reads({table, {0, tables_.spec().vocab_size}}), writes(out)});
}

void Lowering::attention(const MicroBatchTables& batch, std::int64_t layer) {
    const model::ModelSpec& spec = tables_.spec();
    const WorkBuffers& work = tables_.buffers;
    const auto weight = [&](WeightRole role) { return tables_.weight(layer, role); };
    const Range all{0, batch.num_tokens()};
    if (all.empty()) return;
    const auto slice = [&](plan::BufferId buffer) { return Slice{buffer, all}; };

    // The layer before left every row with its owner; the first layer's rows were everywhere from the start.
    const bool scattered = !tables_.replicated && tables_.setup.placement.attention_tp > 1;
    if (scattered && (layer > 0 || tables_.position.stage > 0)) all_gather(batch.hidden, batch.owned_by_tp);

    const std::int64_t num_heads = tables_.shards.heads.size();
    if (num_heads == 0) {
        builder_.add(tables_.lanes.compute, plan::Clear{slice(work.projected)},
                     {writes(slice(work.projected))});
        add_sum_over_tp(work.projected, batch);
        return;
    }
    norm(slice(batch.hidden), weight(WeightRole::input_norm), slice(work.normed), spec.rms_norm_eps);
    if (spec.q_lora_rank > 0) {
        linear(slice(work.normed), weight(WeightRole::q_a), weight(WeightRole::q_a_bias),
               slice(work.q_latent));
        norm(slice(work.q_latent), weight(WeightRole::q_a_norm), slice(work.q_latent_normed), kLatentNormEps);
        linear(slice(work.q_latent_normed), weight(WeightRole::q_b), kNoBuffer, slice(work.q));
    } else {
        linear(slice(work.normed), weight(WeightRole::q), kNoBuffer, slice(work.q));
    }
    linear(slice(work.normed), weight(WeightRole::kv_a), weight(WeightRole::kv_a_bias), slice(work.kv_a));
    norm(slice(work.kv_a), weight(WeightRole::kv_a_norm), slice(work.kv_latent), kLatentNormEps);
    linear(slice(work.kv_latent), weight(WeightRole::kv_b), kNoBuffer, slice(work.kv));

    const auto rope = [&](plan::BufferId x, std::int64_t heads, std::int64_t head_stride,
                          std::int64_t offset) {
        builder_.add(tables_.lanes.compute, plan::Rope{slice(x), batch.positions, heads, head_stride, offset},
                     {reads(slice(batch.positions)), reads(slice(x)), writes(slice(x))});
    };
    rope(work.q, num_heads, spec.qk_head_dim(), spec.qk_nope_head_dim);
    rope(work.kv_a, 1, spec.qk_rope_head_dim, spec.kv_lora_rank);

    const auto first_start = builder_.mark_numbers();
    for (const std::int64_t start : batch.starts) builder_.number(start);
    builder_.add(
        tables_.lanes.compute,
        plan::Attention{slice(work.q),
                        slice(work.kv),
                        slice(work.kv_a),
                        slice(work.attended),
                        {first_start, builder_.mark_numbers()}},
        {reads(slice(work.q)), reads(slice(work.kv)), reads(slice(work.kv_a)), writes(slice(work.attended))});
    linear(slice(work.attended), weight(WeightRole::o), weight(WeightRole::o_bias), slice(work.projected));
    add_sum_over_tp(work.projected, batch);
}

void Lowering::dense(const MicroBatchTables& batch, std::int64_t layer) {
    const WorkBuffers& work = tables_.buffers;
    const Range rows{0, batch.owned.size()};
    const Slice normed{work.normed, rows}, out{work.mlp_out, rows};
    norm(owned_hidden(batch), tables_.weight(layer, WeightRole::post_norm), normed,
         tables_.spec().rms_norm_eps);
    mlp(normed, tables_.weight(layer, WeightRole::gate_up), tables_.weight(layer, WeightRole::down),
        work.mlp_up, work.mlp_act, out);
    if (tables_.replicated) {
        if (!batch.owned.empty()) add_sum_over_tp(work.mlp_out, batch);
    } else {
        add(out, owned_hidden(batch));
    }
}

void Lowering::head(const MicroBatchTables& batch) {
    const WorkBuffers& work = tables_.buffers;
    const Range all{0, batch.num_sequences()};
    if (all.empty()) return;
    const bool scattered = !tables_.replicated && tables_.setup.placement.attention_tp > 1;
    const Range mine = scattered ? batch.last_rows_by_tp[static_cast<std::size_t>(tables_.position.tp)] : all;
    if (!mine.empty()) {
        const auto first = builder_.mark_numbers();
        builder_.number(mine.begin);
        builder_.number(mine.end);
        builder_.add(
            tables_.lanes.compute,
            plan::PackRows{batch.hidden, batch.last_rows, work.last_hidden, {first, first + 2}},
            {reads({batch.last_rows, mine}), reads(owned_hidden(batch)), writes({work.last_hidden, mine})});
    }
    if (scattered) all_gather(work.last_hidden, batch.last_rows_by_tp);
    norm({work.last_hidden, all}, tables_.weight(-1, WeightRole::final_norm), {work.last_normed, all},
         tables_.spec().rms_norm_eps);
    if (tables_.shards.vocabulary.empty()) return;
    linear({work.last_normed, all}, tables_.weight(-1, WeightRole::lm_head), kNoBuffer, {batch.logits, all});
}

}  // namespace eps::schedule
