#include "validate/attention.hpp"

#include "validate/arithmetic.hpp"

#include <algorithm>

namespace eps::validate {
namespace {

constexpr double kLatentNormEps = 1e-6;  // q_a_layernorm and kv_a_layernorm, whatever rms_norm_eps says

std::string attention_tensor(std::int64_t layer, const std::string& tensor) {
    return layer_tensor(layer, "self_attn." + tensor);
}

std::vector<float> biased_if(bool has_bias, const Weights& weights, const std::string& linear,
                             std::int64_t num_out, std::span<const float> x, std::int64_t num_in) {
    if (has_bias) return weights.project_with_bias(linear + ".weight", linear + ".bias", num_out, x, num_in);
    return weights.project(linear + ".weight", num_out, x, num_in);
}

}  // namespace

std::vector<float> attention_input(const Weights& weights, const model::ModelSpec& spec, std::int64_t layer,
                                   std::span<const float> x) {
    const std::string name = layer_tensor(layer, "input_layernorm.weight");
    return rms_norm(x, weights.vector(name, spec.hidden_size), spec.rms_norm_eps);
}

std::vector<float> queries(const Weights& weights, const model::ModelSpec& spec, std::int64_t layer,
                           std::span<const float> normed, std::span<const std::int64_t> positions,
                           const RotaryTable& table) {
    const std::int64_t head = spec.qk_nope_head_dim + spec.qk_rope_head_dim;
    const std::int64_t width = spec.num_attention_heads * head;
    std::vector<float> q;
    if (spec.q_lora_rank == 0) {
        q = weights.project(attention_tensor(layer, "q_proj.weight"), width, normed, spec.hidden_size);
    } else {
        const std::vector<float> low =
            biased_if(spec.attention_bias, weights, attention_tensor(layer, "q_a_proj"), spec.q_lora_rank,
                      normed, spec.hidden_size);
        const std::vector<float> norm =
            weights.vector(attention_tensor(layer, "q_a_layernorm.weight"), spec.q_lora_rank);
        q = weights.project(attention_tensor(layer, "q_b_proj.weight"), width,
                            rms_norm(low, norm, kLatentNormEps), spec.q_lora_rank);
    }
    for (std::size_t t = 0; t < positions.size(); ++t)
        for (std::int64_t h = 0; h < spec.num_attention_heads; ++h) {
            float* rope_part =
                q.data() + static_cast<std::int64_t>(t) * width + h * head + spec.qk_nope_head_dim;
            rotate({rope_part, static_cast<std::size_t>(spec.qk_rope_head_dim)}, positions[t], table);
        }
    return q;
}

Latents latents(const Weights& weights, const model::ModelSpec& spec, std::int64_t layer,
                std::span<const float> normed, std::span<const std::int64_t> positions,
                const RotaryTable& table) {
    const std::int64_t rank = spec.kv_lora_rank, dr = spec.qk_rope_head_dim;
    const std::vector<float> both =
        biased_if(spec.attention_bias, weights, attention_tensor(layer, "kv_a_proj_with_mqa"), rank + dr,
                  normed, spec.hidden_size);
    Latents out;
    for (auto row = both.begin(); row != both.end(); row += rank + dr) {
        out.latent.insert(out.latent.end(), row, row + rank);
        out.rope_key.insert(out.rope_key.end(), row + rank, row + rank + dr);
    }
    const std::vector<float> norm = weights.vector(attention_tensor(layer, "kv_a_layernorm.weight"), rank);
    out.latent = rms_norm(out.latent, norm, kLatentNormEps);
    for (std::size_t t = 0; t < positions.size(); ++t)
        rotate({out.rope_key.data() + static_cast<std::int64_t>(t) * dr, static_cast<std::size_t>(dr)},
               positions[t], table);
    return out;
}

std::vector<float> keys_values(const Weights& weights, const model::ModelSpec& spec, std::int64_t layer,
                               std::span<const float> latent) {
    const std::int64_t width = spec.num_attention_heads * (spec.qk_nope_head_dim + spec.v_head_dim);
    return weights.project(attention_tensor(layer, "kv_b_proj.weight"), width, latent, spec.kv_lora_rank);
}

std::vector<float> attend(const model::ModelSpec& spec, double scale, std::span<const std::int64_t> starts,
                          std::span<const float> q, std::span<const float> kv,
                          std::span<const float> rope_key, int threads) {
    const std::int64_t nh = spec.num_attention_heads, dn = spec.qk_nope_head_dim, dr = spec.qk_rope_head_dim,
                       dv = spec.v_head_dim;
    const std::vector<std::int64_t> positions = positions_of(starts);
    std::vector<float> out(positions.size() * static_cast<std::size_t>(nh * dv));

    const auto attend_one = [&](std::int64_t t, std::int64_t h) {
        const std::int64_t num_keys = positions[static_cast<std::size_t>(t)] + 1;  // itself and all before it
        const std::int64_t first = t + 1 - num_keys;
        const float* query = q.data() + (t * nh + h) * (dn + dr);
        std::vector<double> p(static_cast<std::size_t>(num_keys));
        for (std::int64_t s = 0; s < num_keys; ++s) {
            const float* key = kv.data() + ((first + s) * nh + h) * (dn + dv);
            const float* shared_key = rope_key.data() + (first + s) * dr;
            p[static_cast<std::size_t>(s)] = (dot(query, key, dn) + dot(query + dn, shared_key, dr)) * scale;
        }
        softmax(p);
        std::vector<double> total(static_cast<std::size_t>(dv));
        for (std::int64_t s = 0; s < num_keys; ++s) {
            const float* value = kv.data() + ((first + s) * nh + h) * (dn + dv) + dn;
            for (std::int64_t j = 0; j < dv; ++j)
                total[static_cast<std::size_t>(j)] += p[static_cast<std::size_t>(s)] * value[j];
        }
        std::transform(total.begin(), total.end(), out.begin() + (t * nh + h) * dv,
                       [](double v) { return static_cast<float>(v); });
    };
    for_parts(static_cast<std::int64_t>(positions.size()), threads, [&](Range part) {
        for (std::int64_t t = part.begin; t < part.end; ++t)
            for (std::int64_t h = 0; h < nh; ++h) attend_one(t, h);
    });
    return out;
}

std::vector<float> attention_output(const Weights& weights, const model::ModelSpec& spec, std::int64_t layer,
                                    std::span<const float> attended) {
    return biased_if(spec.attention_bias, weights, attention_tensor(layer, "o_proj"), spec.hidden_size,
                     attended, spec.num_attention_heads * spec.v_head_dim);
}

std::vector<std::int64_t> positions_of(std::span<const std::int64_t> starts) {
    std::vector<std::int64_t> positions;
    for (std::size_t s = 0; s + 1 < starts.size(); ++s)
        for (std::int64_t t = starts[s]; t < starts[s + 1]; ++t) positions.push_back(t - starts[s]);
    return positions;
}

}  // namespace eps::validate
