// Lowering of the gate segment: norm, gate, histograms and their exchange, and the shared experts, which
// cover the wait.
#include "schedule/lowering.hpp"

namespace eps::schedule {

using placement::WeightRole;
using plan::kNoBuffer;
using plan::reads;
using plan::Slice;
using plan::writes;

void Lowering::gate(const MicroBatchTables& batch, std::int64_t layer) {
    const model::ModelSpec& spec = tables_.spec();
    const WorkBuffers& work = tables_.buffers;
    const plan::LaneId compute = tables_.lanes.compute;
    const Range rows{0, batch.owned.size()};
    const Slice normed{work.normed, rows}, ids{work.topk_ids, rows}, weights{work.topk_weights, rows};
    const Slice counts{work.counts, {0, spec.n_routed_experts}};
    const plan::BufferId router = tables_.weight(layer, WeightRole::router);
    const plan::BufferId forced = batch.forced[static_cast<std::size_t>(layer)];

    norm(owned_hidden(batch), tables_.weight(layer, WeightRole::post_norm), normed, spec.rms_norm_eps);
    builder_.add(compute, plan::Gate{normed, router, ids, weights, forced},
                 {reads(normed), reads({router, {0, spec.n_routed_experts}}), reads({forced, rows}),
                  writes(ids), writes(weights)});

    // Every row may travel to as many ranks, or without dedup as many experts, as it has slots.
    const Range most_sent{0, rows.size() * tables_.block.top_k};
    const bool travels = !tables_.replicated;
    const Slice order{travels ? work.send_order : kNoBuffer, most_sent},
        slots{travels ? work.sent_slots : kNoBuffer, most_sent};
    builder_.add(compute,
                 plan::Route{ids, weights, counts, order.buffer, slots.buffer,
                             tables_.per_chunk ? tables_.num_chunks : 0, tables_.setup.schedule.dedup},
                 {reads(ids), reads(weights), writes(counts), writes(order), writes(slots)});
    if (travels && !tables_.setup.schedule.oracle) {
        const Slice all{work.all_counts, {0, tables_.block.num_ranks() * spec.n_routed_experts}};
        builder_.add(tables_.lanes.dispatch, plan::ExchangeCounts{counts, all}, {reads(counts), writes(all)});
    }
    if (spec.n_shared_experts > 0)
        mlp(normed, tables_.weight(layer, WeightRole::shared_gate_up),
            tables_.weight(layer, WeightRole::shared_down), work.shared_up, work.shared_act,
            {work.shared_out, rows});
}

}  // namespace eps::schedule
