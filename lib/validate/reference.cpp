#include "validate/reference.hpp"

#include "base/error.hpp"
#include "validate/arithmetic.hpp"
#include "validate/attention.hpp"

#include <fmt/format.h>

namespace eps::validate {
namespace {

const std::string kEmbedding = "model.embed_tokens.weight";

}  // namespace

Reference::Reference(const model::ModelSpec& spec, const Weights& weights)
    : spec_(spec), weights_(weights), rotary_(rotary_table(spec)), scale_(softmax_scale(spec)) {}

std::vector<float> Reference::embed(std::span<const std::int32_t> ids) const {
    std::vector<float> out;
    for (const std::int32_t id : ids) {
        const std::vector<float> row = weights_.rows(kEmbedding, {id, id + 1}, spec_.hidden_size);
        out.insert(out.end(), row.begin(), row.end());
    }
    return out;
}

std::vector<float> Reference::attention_block(std::int64_t layer, std::span<const std::int64_t> starts,
                                              std::span<const float> x) const {
    const std::vector<float> normed = attention_input(weights_, spec_, layer, x);
    const std::vector<std::int64_t> positions = positions_of(starts);
    const std::vector<float> q = queries(weights_, spec_, layer, normed, positions, rotary_);
    const Latents k = latents(weights_, spec_, layer, normed, positions, rotary_);
    const std::vector<float> kv = keys_values(weights_, spec_, layer, k.latent);
    return attention_output(weights_, spec_, layer,
                            attend(spec_, scale_, starts, q, kv, k.rope_key, weights_.threads()));
}

MlpResult Reference::mlp_block(std::int64_t layer, std::span<const float> after_attention,
                               ForcedIds forced) const {
    const std::int64_t hidden = spec_.hidden_size;
    const std::vector<float> x = rms_norm(
        after_attention, weights_.vector(layer_tensor(layer, "post_attention_layernorm.weight"), hidden),
        spec_.rms_norm_eps);
    if (!spec_.is_moe(layer)) return {mlp(layer_tensor(layer, "mlp."), x, spec_.intermediate_size), {}};

    std::vector<float> logits =
        weights_.project(layer_tensor(layer, "mlp.gate.weight"), spec_.n_routed_experts, x, hidden);
    MlpResult result;
    result.gate = decide(spec_, std::move(logits), forced);
    result.mlp_out = experts(layer, x, result.gate);
    if (spec_.n_shared_experts > 0)
        result.mlp_out = sum(result.mlp_out, mlp(layer_tensor(layer, "mlp.shared_experts."), x,
                                                 spec_.n_shared_experts * spec_.moe_intermediate_size));
    return result;
}

LayerResult Reference::mlp_layer(std::int64_t layer, std::span<const float> after_attention,
                                 ForcedIds forced) const {
    MlpResult mlp = mlp_block(layer, after_attention, forced);
    LayerResult result;
    result.hidden = sum(after_attention, mlp.mlp_out);
    result.after_attention.assign(after_attention.begin(), after_attention.end());
    result.mlp_out = std::move(mlp.mlp_out);
    result.gate = std::move(mlp.gate);
    return result;
}

LayerResult Reference::decoder_layer(std::int64_t layer, std::span<const std::int64_t> starts,
                                     std::span<const float> x, ForcedIds forced) const {
    std::vector<float> attn_out = attention_block(layer, starts, x);
    LayerResult result = mlp_layer(layer, sum(x, attn_out), forced);
    result.attn_out = std::move(attn_out);
    return result;
}

HeadResult Reference::head(std::span<const float> rows) const {
    HeadResult result;
    result.final_norm =
        rms_norm(rows, weights_.vector("model.norm.weight", spec_.hidden_size), spec_.rms_norm_eps);
    result.logits = weights_.project(head_tensor(), spec_.vocab_size, result.final_norm, spec_.hidden_size);
    return result;
}

std::vector<float> Reference::logits_at(std::span<const float> final_norm,
                                        std::span<const std::int64_t> vocab_ids) const {
    std::vector<float> out(final_norm.size() / static_cast<std::size_t>(spec_.hidden_size) *
                           vocab_ids.size());
    for (std::size_t v = 0; v < vocab_ids.size(); ++v) {
        const std::vector<float> w =
            weights_.rows(head_tensor(), {vocab_ids[v], vocab_ids[v] + 1}, spec_.hidden_size);
        for (std::size_t i = v, first = 0; i < out.size(); i += vocab_ids.size(), first += w.size())
            out[i] = static_cast<float>(dot(final_norm.data() + first, w.data(), spec_.hidden_size));
    }
    return out;
}

std::vector<float> Reference::mlp(const std::string& name, std::span<const float> x,
                                  std::int64_t width) const {
    const std::vector<float> gate = weights_.project(name + "gate_proj.weight", width, x, spec_.hidden_size);
    const std::vector<float> up = weights_.project(name + "up_proj.weight", width, x, spec_.hidden_size);
    return weights_.project(name + "down_proj.weight", spec_.hidden_size, swiglu(gate, up), width);
}

// sum over a token's slots of weight * expert(x); only experts that somebody chose are read.
std::vector<float> Reference::experts(std::int64_t layer, std::span<const float> x,
                                      const GateResult& gate) const {
    struct Use {
        std::vector<std::int64_t> tokens;
        std::vector<float> weights;
    };
    std::vector<Use> uses(static_cast<std::size_t>(spec_.n_routed_experts));
    for (std::size_t slot = 0; slot < gate.ids.size(); ++slot) {
        Use& use = uses.at(static_cast<std::size_t>(gate.ids[slot]));
        use.tokens.push_back(static_cast<std::int64_t>(slot) / spec_.num_experts_per_tok);
        use.weights.push_back(gate.weights[slot]);
    }
    const std::int64_t hidden = spec_.hidden_size;
    std::vector<double> total(x.size());
    for (std::size_t e = 0; e < uses.size(); ++e) {
        if (uses[e].tokens.empty()) continue;
        const std::vector<float> y = mlp(layer_tensor(layer, fmt::format("mlp.experts.{}.", e)),
                                         gathered(x, hidden, uses[e].tokens), spec_.moe_intermediate_size);
        for (std::size_t i = 0; i < uses[e].tokens.size(); ++i)
            for (std::int64_t j = 0; j < hidden; ++j)
                total[static_cast<std::size_t>(uses[e].tokens[i] * hidden + j)] +=
                    static_cast<double>(uses[e].weights[i]) *
                    y[i * static_cast<std::size_t>(hidden) + static_cast<std::size_t>(j)];
    }
    std::vector<float> out(total.size());
    for (std::size_t i = 0; i < total.size(); ++i) out[i] = static_cast<float>(total[i]);
    return out;
}

std::string Reference::head_tensor() const {
    return spec_.tie_word_embeddings ? kEmbedding : "lm_head.weight";
}

}  // namespace eps::validate
