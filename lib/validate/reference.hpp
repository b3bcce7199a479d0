// A plain single-process forward pass, written for reading: the proof that a fast pass computed the right
// thing. It shares no arithmetic with the rest of the program. Every function takes and gives f32 rows of the
// whole batch, row-major; values are rounded to f32 once per sum, never to the run's dtype.
#pragma once

#include "model/spec.hpp"
#include "validate/gate.hpp"
#include "validate/rope.hpp"
#include "validate/weights.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace eps::validate {

struct MlpResult {
    std::vector<float> mlp_out;  // [T, hidden_size] before the residual addition
    GateResult gate;             // empty on a dense layer
};

struct LayerResult {
    std::vector<float> hidden;  // [T, hidden_size] after both residual additions
    std::vector<float>
        after_attention;  // [T, hidden_size] after the first one; the input itself in the MoE-only scope
    std::vector<float>
        attn_out;  // [T, hidden_size] before the residual addition; empty in the MoE-only scope
    std::vector<float> mlp_out;
    GateResult gate;
};

struct HeadResult {
    std::vector<float> final_norm;  // [T, hidden_size]
    std::vector<float> logits;      // [T, vocab_size]
};

class Reference {
  public:
    /// `weights` must outlive this object.
    Reference(const model::ModelSpec& spec, const Weights& weights);

    const model::ModelSpec& spec() const { return spec_; }
    const Weights& weights() const { return weights_; }
    const RotaryTable& rotary() const { return rotary_; }

    std::vector<float> embed(std::span<const std::int32_t> ids) const;

    /// input_layernorm and attention; sequence s is rows [starts[s], starts[s+1]).
    std::vector<float> attention_block(std::int64_t layer, std::span<const std::int64_t> starts,
                                       std::span<const float> x) const;

    /// post_attention_layernorm and the dense MLP, or gate, chosen experts and shared experts.
    MlpResult mlp_block(std::int64_t layer, std::span<const float> after_attention,
                        ForcedIds forced = {}) const;

    /// The MLP half with its residual addition: scope `moe`, and the second half of decoder_layer.
    LayerResult mlp_layer(std::int64_t layer, std::span<const float> after_attention,
                          ForcedIds forced = {}) const;

    LayerResult decoder_layer(std::int64_t layer, std::span<const std::int64_t> starts,
                              std::span<const float> x, ForcedIds forced = {}) const;

    /// Final norm and logits of the given rows (those of last positions).
    HeadResult head(std::span<const float> rows) const;

    /// Logits [rows, vocab_ids.size()] of some tokens of the vocabulary only.
    std::vector<float> logits_at(std::span<const float> final_norm,
                                 std::span<const std::int64_t> vocab_ids) const;

  private:
    std::vector<float> mlp(const std::string& name, std::span<const float> x, std::int64_t width) const;
    std::vector<float> experts(std::int64_t layer, std::span<const float> x, const GateResult& gate) const;
    std::string head_tensor() const;

    model::ModelSpec spec_;
    const Weights& weights_;
    RotaryTable rotary_;
    double scale_;
};

}  // namespace eps::validate
