#include "schedule/check_input.hpp"

#include "base/error.hpp"

namespace eps::schedule {

namespace {

/// The input rows of the scopes layer and moe.
std::vector<plan::Slice> given_rows(const Tables& tables) {
    std::vector<plan::Slice> given;
    if (tables.setup.scope == Scope::model || tables.position.stage > 0) return given;
    for (const MicroBatchTables& batch : tables.micro_batches)
        given.push_back(
            {batch.hidden, tables.setup.scope == Scope::layer ? Range{0, batch.num_tokens()} : batch.owned});
    return given;
}

}  // namespace

plan::PassUnderCheck pass_under_check(std::span<const LoweredRank> ranks) {
    if (ranks.empty()) throw Error(Exit::internal, "a check of no rank");
    const Tables& any = *ranks.front().tables;
    const PassSetup& setup = any.setup;
    plan::PassUnderCheck pass;
    pass.spec = setup.spec;
    pass.placement = setup.placement;
    for (const LoweredRank& rank : ranks) pass.ranks.push_back({rank.plan, given_rows(*rank.tables)});
    pass.num_tokens = setup.layout->sequence_starts.back();
    const Range layers = layers_of(setup);
    for (std::int64_t layer = layers.begin; layer < layers.end; ++layer)
        pass.num_moe_layers += setup.spec->is_moe(layer);
    pass.num_chunks = any.chunks_by_load ? 0 : any.num_chunks;
    pass.dedup = setup.schedule.dedup;
    pass.per_chunk = any.per_chunk;
    return pass;
}

plan::GateChoices gate_choices(const PassSetup& setup, std::int64_t layer, std::int64_t micro_batch,
                               std::span<const std::int32_t> ids) {
    const placement::Placement& placement = setup.placement;
    const std::int64_t k = setup.spec->num_experts_per_tok;
    if (std::ssize(ids) != setup.layout->sequence_starts.back() * k)
        throw Error(Exit::internal, "expert ids of another number of tokens than the batch has");
    plan::GateChoices choices{layer, micro_batch, {}};
    for (std::int64_t rank = 0; rank < placement.world(); ++rank) {
        const placement::Position position = placement::position_of(placement, rank);
        choices.ids.emplace_back();
        if (!placement::shards_of(placement, *setup.spec, rank).layers.contains(layer)) continue;
        const Range tokens = setup.layout->micro_batches[at(micro_batch)].groups[at(position.dp)].tokens;
        const Range owned = placement.rows_replicated()
                                ? Range{0, tokens.size()}
                                : placement::owned_rows(tokens.size(), placement, position.tp);
        const auto rows = ids.subspan(at((tokens.begin + owned.begin) * k), at(owned.size() * k));
        choices.ids.back().assign(rows.begin(), rows.end());
    }
    return choices;
}

std::vector<std::int32_t> counts_of(const Tables& tables, const plan::GateChoices& choices) {
    const std::int64_t fields = routing::num_count_fields(tables.per_chunk);
    const std::int64_t of_source = tables.block.num_experts * fields;
    if (tables.replicated) {
        std::vector<std::int32_t> counts(at(of_source));
        routing::count_rows(choices.ids[at(tables.position.rank)], counts, fields);
        return counts;
    }
    std::vector<std::int32_t> counts(at(tables.block.num_ranks() * of_source));
    const std::int64_t first_rank = first_rank_of_block(tables.setup.placement, tables.position);
    for (std::int64_t source = 0; source < tables.block.num_ranks(); ++source) {
        const std::vector<std::int32_t>& ids = choices.ids[at(first_rank + source)];
        const std::vector<float> weights(ids.size());
        std::vector<std::int32_t> order(ids.size()), slots(ids.size() * at(tables.block.slot_columns()));
        routing::route(tables.block, ids, weights, tables.per_chunk ? tables.num_chunks : 0,
                       tables.setup.schedule.dedup,
                       std::span(counts).subspan(at(source * of_source), at(of_source)), order, slots);
    }
    return counts;
}

routing::CountsView view_of(const Tables& tables, const std::vector<std::int32_t>& counts) {
    return {counts.data(), tables.replicated ? 1 : tables.block.num_ranks(), tables.block.num_experts,
            routing::num_count_fields(tables.per_chunk)};
}

}  // namespace eps::schedule
