#include "backend/cuda/scratch.hpp"

#include "backend/op_args.hpp"
#include "model/rope.hpp"

#include <algorithm>
#include <cmath>

namespace eps::backend::cuda {

namespace device = kernels::device;

namespace {

bool has_attention(const schedule::Tables& tables) {
    return tables.setup.scope != schedule::Scope::moe && !tables.shards.layers.empty() &&
           !tables.shards.heads.empty();
}

bool has_experts(const schedule::Tables& tables) {
    return tables.block.num_experts > 0;
}

std::vector<float> cos_sin_of(const model::Rope& rope, std::int64_t num_positions) {
    std::vector<float> values;
    values.reserve(2 * rope.inverse_frequencies.size() * at(num_positions));
    for (std::int64_t position = 0; position < num_positions; ++position)
        for (const double frequency : rope.inverse_frequencies) {
            const double angle = static_cast<double>(position) * frequency;
            values.push_back(static_cast<float>(std::cos(angle) * rope.cos_sin_factor));
            values.push_back(static_cast<float>(std::sin(angle) * rope.cos_sin_factor));
        }
    return values;
}

}  // namespace

device::Block block_of(const schedule::Tables& tables) {
    return {.num_experts = tables.block.num_experts,
            .num_parts = tables.block.num_parts,
            .num_shards = tables.block.num_shards,
            .top_k = tables.block.top_k,
            .num_chunks = 1,
            .part_begin = nullptr,
            .chunk_bounds = nullptr,
            .dedup = tables.setup.schedule.dedup,
            .per_chunk = tables.per_chunk};
}

std::int64_t most_owned_tokens(const schedule::Tables& tables) {
    std::int64_t most = 1;
    for (const auto& batch : tables.setup.layout->micro_batches)
        for (const auto& group : batch.groups)
            for (std::int64_t tp = 0; tp < tables.setup.placement.attention_tp; ++tp)
                most = std::max(
                    most,
                    tables.replicated
                        ? group.tokens.size()
                        : placement::owned_rows(group.tokens.size(), tables.setup.placement, tp).size());
    return most;
}

Scratch::Scratch(const Cases& cases, Layout& layout) {
    const schedule::Tables& first = cases.front()->tables();
    std::int64_t bytes = 0;
    if (has_attention(first)) {
        attention_ = std::make_unique<device::Attention>(
            attention_args(first.spec(), first.shards.heads.size()), first.setup.dtype);
        for (const PassRunner* runner : cases)
            for (const auto& batch : runner->tables().micro_batches)
                if (batch.num_tokens() > 0) bytes = std::max(bytes, attention_->prepare(batch.starts));
    }
    attention_offset_ = layout.take(bytes);
    take(cases, layout);
}

void Scratch::take(const Cases& cases, Layout& layout) {
    const schedule::Tables& first = cases.front()->tables();
    const model::ModelSpec& spec = first.spec();
    std::int64_t most_tokens = 1, map_bytes = 0, num_bounds = 0;
    for (const PassRunner* runner : cases) {
        const schedule::Tables& tables = runner->tables();
        for (const auto& batch : tables.micro_batches) {
            most_tokens = std::max(most_tokens, batch.num_tokens());
            for (std::size_t s = 0; s + 1 < batch.starts.size(); ++s)
                longest_ = std::max(longest_, batch.starts[s + 1] - batch.starts[s]);
        }
        if (!has_experts(tables)) continue;
        num_bounds = std::max(
            num_bounds, tables.block.num_parts * (std::max(tables.num_chunks, tables.block.num_experts) + 1));
        const std::int64_t tokens = most_owned_tokens(tables);
        const std::int64_t sources = tables.replicated ? 1 : tables.block.num_ranks();
        map_bytes = std::max(map_bytes, static_cast<std::int64_t>(
                                            device::map_workspace_bytes(block_of(tables), tokens, sources)));
    }
    most_experts_ = std::max<std::int64_t>(1, first.shards.experts.size());
    gemms_offset_ = layout.take(device::Gemms::workspace_bytes(most_experts_));
    num_pairs_ = spec.qk_rope_head_dim / 2;
    cos_sin_offset_ = layout.take(longest_ * num_pairs_ * 2 * 4);
    logits_offset_ = layout.take(most_tokens * spec.n_routed_experts * 4);
    part_begin_offset_ = layout.take((first.block.num_parts + 1) * 4);
    chunk_bounds_offset_ = layout.take(num_bounds * 4);
    compute_maps_offset_ = layout.take(map_bytes);
    dispatch_maps_offset_ = layout.take(first.replicated ? 0 : map_bytes);
    lists_offset_ = layout.take(Lists::kBytes);
}

void Scratch::place(std::byte* memory, const Cases& cases) {
    memory_ = memory;
    const schedule::Tables& tables = cases.front()->tables();
    gemms_ = std::make_unique<device::Gemms>(memory + gemms_offset_, most_experts_);
    lists_ = std::make_unique<Lists>(memory + lists_offset_);
    if (attention_) {
        const std::vector<float> cos_sin = cos_sin_of(model::make_rope(tables.spec()), longest_);
        check(cudaMemcpy(memory + cos_sin_offset_, cos_sin.data(), cos_sin.size() * sizeof(float),
                         cudaMemcpyHostToDevice),
              "copying rotary angles");
    }
    if (!has_experts(tables)) return;
    std::vector<std::int32_t> begin;
    for (std::int64_t p = 0; p < tables.block.num_parts; ++p)
        begin.push_back(static_cast<std::int32_t>(tables.block.experts_of(p).begin));
    begin.push_back(static_cast<std::int32_t>(tables.block.num_experts));
    check(cudaMemcpy(memory + part_begin_offset_, begin.data(), begin.size() * sizeof(std::int32_t),
                     cudaMemcpyHostToDevice),
          "copying the parts of the experts");
}

}  // namespace eps::backend::cuda
