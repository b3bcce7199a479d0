// Multi-head latent attention in pieces, as the reference pass computes it. Rows are row-major; T is the
// number of rows. Shapes: nh heads, dn = qk_nope_head_dim, dr = qk_rope_head_dim, dv = v_head_dim.
#pragma once

#include "model/spec.hpp"
#include "validate/rope.hpp"
#include "validate/weights.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace eps::validate {

/// What a token leaves behind for later ones: the normed latent, from which keys and values of all heads
/// follow, and the one rotated key that all heads share.
struct Latents {
    std::vector<float> latent;    // [T, kv_lora_rank]
    std::vector<float> rope_key;  // [T, dr]
};

/// x after input_layernorm: [T, hidden_size].
std::vector<float> attention_input(const Weights& weights, const model::ModelSpec& spec, std::int64_t layer,
                                   std::span<const float> x);

/// Rotated queries [T, nh*(dn+dr)], per head dn then dr, of rows at `positions`.
std::vector<float> queries(const Weights& weights, const model::ModelSpec& spec, std::int64_t layer,
                           std::span<const float> normed, std::span<const std::int64_t> positions,
                           const RotaryTable& table);

Latents latents(const Weights& weights, const model::ModelSpec& spec, std::int64_t layer,
                std::span<const float> normed, std::span<const std::int64_t> positions,
                const RotaryTable& table);

/// Keys and values [T, nh*(dn+dv)], per head key dn then value dv.
std::vector<float> keys_values(const Weights& weights, const model::ModelSpec& spec, std::int64_t layer,
                               std::span<const float> latent);

/// Causal attention [T, nh*dv]; sequence s is rows [starts[s], starts[s+1]).
std::vector<float> attend(const model::ModelSpec& spec, double scale, std::span<const std::int64_t> starts,
                          std::span<const float> q, std::span<const float> kv,
                          std::span<const float> rope_key, int threads);

/// o_proj, with its bias if there is one: [T, hidden_size].
std::vector<float> attention_output(const Weights& weights, const model::ModelSpec& spec, std::int64_t layer,
                                    std::span<const float> attended);

/// Position of each row within its sequence.
std::vector<std::int64_t> positions_of(std::span<const std::int64_t> starts);

}  // namespace eps::validate
