// What a model of the DeepSeek-V2 family is: the numbers of its Hugging Face config that decide its
// computation.
#pragma once

#include "base/dtype.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace eps::model {

/// YaRN scaling of the rotary embedding (config key rope_scaling / rope_parameters with type "yarn").
struct Yarn {
    double factor = 1;
    double beta_fast = 32;
    double beta_slow = 1;
    double mscale = 1;
    double mscale_all_dim = 0;
    double original_max_position_embeddings = 4096;
};

/// Sizes are element counts. Field names are those of the published config where it has one.
struct ModelSpec {
    std::string name;  // preset's name or checkpoint's folder name, for reports
    std::int64_t vocab_size = 0;
    std::int64_t hidden_size = 0;
    std::int64_t num_layers = 0;         // layers that are built: the first n of num_hidden_layers
    std::int64_t num_hidden_layers = 0;  // layers that the config describes
    double rms_norm_eps = 1e-6;
    bool tie_word_embeddings = false;

    // MLA attention
    std::int64_t num_attention_heads = 0;
    std::int64_t q_lora_rank = 0;  // 0: no q-LoRA, one q_proj
    std::int64_t kv_lora_rank = 0;
    std::int64_t qk_nope_head_dim = 0;
    std::int64_t qk_rope_head_dim = 0;
    std::int64_t v_head_dim = 0;
    bool attention_bias = false;  // biases on q_a_proj, kv_a_proj_with_mqa and o_proj only
    double rope_theta = 10000;
    std::optional<Yarn> yarn;

    // MLPs
    std::int64_t intermediate_size = 0;  // dense layers
    std::int64_t moe_intermediate_size = 0;
    std::int64_t n_routed_experts = 0;  // 0: every layer is dense
    std::int64_t n_shared_experts = 0;  // 0: none
    std::int64_t first_k_dense_replace = 0;
    std::int64_t moe_layer_freq = 1;

    // Gate
    std::int64_t num_experts_per_tok = 0;
    bool group_limited = false;  // topk_method group_limited_greedy
    std::int64_t n_group = 1;
    std::int64_t topk_group = 1;
    bool norm_topk_prob = false;
    double routed_scaling_factor = 1;

    DType stored_dtype = DType::bf16;  // torch_dtype / dtype of the config: what a checkpoint stores

    /// Layer i is MoE iff i >= first_k_dense_replace, i % moe_layer_freq == 0 and there are routed experts.
    bool is_moe(std::int64_t layer) const {
        return n_routed_experts > 0 && layer >= first_k_dense_replace && layer % moe_layer_freq == 0;
    }
    std::int64_t qk_head_dim() const { return qk_nope_head_dim + qk_rope_head_dim; }
    /// Width of the one MLP that all shared experts form.
    std::int64_t shared_intermediate_size() const { return n_shared_experts * moe_intermediate_size; }
    /// The first MoE layer below num_layers, or -1.
    std::int64_t first_moe_layer() const {
        for (std::int64_t i = 0; i < num_layers; ++i)
            if (is_moe(i)) return i;
        return -1;
    }
};

}  // namespace eps::model
