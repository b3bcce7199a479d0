#include "backend/op_args.hpp"

#include "model/rope.hpp"

namespace eps::backend {

std::vector<std::int64_t> weight_index(const plan::RankPlan& plan, const schedule::Tables& tables) {
    std::vector<std::int64_t> index(plan.buffers.size(), -1);
    for (std::size_t i = 0; i < tables.weight_buffers.size(); ++i)
        index[at(tables.weight_buffers[i])] = static_cast<std::int64_t>(i);
    return index;
}

kernels::GateArgs gate_args(const model::ModelSpec& spec) {
    return {.top_k = spec.num_experts_per_tok,
            .n_group = spec.group_limited ? spec.n_group : 1,
            .topk_group = spec.group_limited ? spec.topk_group : 1,
            .norm_topk_prob = spec.norm_topk_prob,
            .routed_scaling_factor = spec.routed_scaling_factor,
            .forced = false};
}

kernels::AttentionArgs attention_args(const model::ModelSpec& spec, std::int64_t num_heads) {
    return {.num_heads = num_heads,
            .nope_dim = spec.qk_nope_head_dim,
            .rope_dim = spec.qk_rope_head_dim,
            .v_dim = spec.v_head_dim,
            .scale = model::make_rope(spec).softmax_scale};
}

}  // namespace eps::backend
