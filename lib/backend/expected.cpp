#include "backend/expected.hpp"

namespace eps::backend {

namespace {

// Global tokens that rank `source` of the block owns in a micro-batch.
Range owned_tokens(const schedule::Tables& tables, std::int64_t source, std::int64_t micro_batch) {
    const placement::Placement& placement = tables.setup.placement;
    const std::int64_t rank = placement::first_rank_of_block(placement, tables.position) + source;
    const placement::Position position = placement::position_of(placement, rank);
    const auto& groups = tables.setup.layout->micro_batches[static_cast<std::size_t>(micro_batch)].groups;
    const Range tokens = groups[static_cast<std::size_t>(position.dp)].tokens;
    const Range owned = placement::owned_rows(tokens.size(), placement, position.tp);
    return {tokens.begin + owned.begin, tokens.begin + owned.end};
}

}  // namespace

std::vector<std::int32_t> block_counts(const schedule::Tables& tables, std::int64_t micro_batch,
                                       const std::function<void(Range, std::span<std::int32_t>)>& write_ids) {
    const routing::BlockShape& block = tables.block;
    const std::int64_t fields = routing::num_count_fields(tables.per_chunk);
    const std::int64_t num_sources = tables.replicated ? 1 : block.num_ranks();
    const auto per_source = static_cast<std::size_t>(block.num_experts * fields);
    std::vector<std::int32_t> counts(static_cast<std::size_t>(num_sources) * per_source);
    std::vector<std::int32_t> ids, send_order, sent_slots;
    std::vector<float> weights;
    for (std::int64_t source = 0; source < num_sources; ++source) {
        const auto& batch = tables.micro_batches[static_cast<std::size_t>(micro_batch)];
        const Range tokens = tables.replicated ? batch.tokens : owned_tokens(tables, source, micro_batch);
        const auto slots = static_cast<std::size_t>(tokens.size() * block.top_k);
        ids.resize(slots);
        write_ids(tokens, ids);
        const std::span of_source(counts.data() + static_cast<std::size_t>(source) * per_source, per_source);
        if (tables.replicated) {
            routing::count_rows(ids, of_source, fields);
            continue;
        }
        weights.resize(slots);
        send_order.resize(slots);
        sent_slots.resize(slots * static_cast<std::size_t>(block.slot_columns()));
        routing::route(block, ids, weights, tables.per_chunk ? tables.num_chunks : 0, tables.setup.schedule.dedup, of_source,
                       send_order, sent_slots);
    }
    return counts;
}

void lower_expected(const Prompts& prompts, PassRunner& runner) {
    const schedule::Tables& tables = runner.tables();
    const model::ModelSpec& spec = tables.spec();
    std::unique_ptr<workload::ForcedRouting> uniform;
    if (prompts.forced == nullptr && spec.first_moe_layer() >= 0)
        uniform = workload::make_forced_routing(workload::UniformRouting{}, spec, prompts.seed, {spec.first_moe_layer()},
                                                prompts.batch.num_tokens());
    // Layers that are routed alike are counted once.
    std::map<std::pair<std::int64_t, std::int64_t>, std::vector<std::int32_t>> known;
    runner.lower_pass([&](std::int64_t layer, std::int64_t micro_batch) {
        const std::int64_t routed_as = uniform != nullptr ? spec.first_moe_layer() : layer;
        std::vector<std::int32_t>& counts = known[{routed_as, micro_batch}];
        if (counts.empty())
            counts = block_counts(tables, micro_batch, [&](Range tokens, std::span<std::int32_t> ids) {
                (uniform != nullptr ? uniform : prompts.forced)->write_ids(routed_as, tokens, ids);
            });
        return routing::CountsView{counts.data(), tables.replicated ? 1 : tables.block.num_ranks(), tables.block.num_experts,
                                   routing::num_count_fields(tables.per_chunk)};
    });
}

}  // namespace eps::backend
