#include "placement/weights.hpp"

#include <algorithm>
#include <iterator>

namespace eps::placement {

namespace {

constexpr const char* kRoleNames[] = {
    "embedding",   "input_norm",     "q_a",         "q_a_bias",   "q_a_norm", "q_b",
    "q",           "kv_a",           "kv_a_bias",   "kv_a_norm",  "kv_b",     "o",
    "o_bias",      "post_norm",      "gate_up",     "down",       "router",   "shared_gate_up",
    "shared_down", "expert_gate_up", "expert_down", "final_norm", "lm_head"};
static_assert(std::size(kRoleNames) == kNumWeightRoles);

class Collector {
  public:
    Collector(const Placement& placement, const model::ModelSpec& spec, std::int64_t rank)
        : placement_(placement),
          spec_(spec),
          shards_(shards_of(placement, spec, rank)),
          position_(position_of(placement, rank)) {}

    std::vector<Weight> collect(const Extent& extent) {
        const std::int64_t hidden = spec_.hidden_size;
        if (extent.embedding && shards_.embedding)
            plain(WeightRole::embedding, {"model.embed_tokens.weight", {0, spec_.vocab_size}, {0, hidden}});
        for (layer_ = std::max(extent.layers.begin, shards_.layers.begin);
             layer_ < std::min(extent.layers.end, shards_.layers.end); ++layer_) {
            prefix_ = "model.layers." + std::to_string(layer_) + ".";
            if (extent.attention) attention();
            vector(WeightRole::post_norm, prefix_ + "post_attention_layernorm.weight", hidden);
            if (spec_.is_moe(layer_)) {
                moe();
            } else {
                const Range width =
                    placement_.rows_replicated() ? shards_.dense_width : Range{0, spec_.intermediate_size};
                mlp(WeightRole::gate_up, WeightRole::down, prefix_ + "mlp.", width);
            }
        }
        layer_ = -1;
        if (extent.embedding && shards_.head) {
            vector(WeightRole::final_norm, "model.norm.weight", hidden);
            matrix(WeightRole::lm_head,
                   {spec_.tie_word_embeddings ? "model.embed_tokens.weight" : "lm_head.weight",
                    shards_.vocabulary,
                    {0, hidden}});
        }
        return std::move(weights_);
    }

  private:
    void add(WeightRole role, std::vector<WeightPiece> pieces, bool gemm, std::int64_t num_matrices = 1) {
        Weight weight{.role = role,
                      .layer = layer_,
                      .num_matrices = num_matrices,
                      .gemm = gemm,
                      .pieces = std::move(pieces)};
        if (weight.pieces.empty()) return;
        weight.cols = weight.pieces.front().columns.size();
        const auto per_matrix = std::ssize(weight.pieces) / num_matrices;
        for (std::int64_t i = 0; i < per_matrix; ++i)
            weight.rows += weight.pieces[static_cast<std::size_t>(i)].rows.size();
        if (weight.rows > 0 && weight.cols > 0) weights_.push_back(std::move(weight));
    }
    void matrix(WeightRole role, WeightPiece piece) { add(role, {std::move(piece)}, true); }
    void plain(WeightRole role, WeightPiece piece) { add(role, {std::move(piece)}, false); }
    void vector(WeightRole role, std::string tensor, std::int64_t size) {
        plain(role, {std::move(tensor), {0, 1}, {0, size}});
    }

    void attention() {
        const auto& s = spec_;
        const std::string self = prefix_ + "self_attn.";
        const Range all{0, s.hidden_size};
        const Range heads = shards_.heads;
        const auto head_rows = [&](std::int64_t dim) { return Range{heads.begin * dim, heads.end * dim}; };
        vector(WeightRole::input_norm, prefix_ + "input_layernorm.weight", s.hidden_size);
        if (!heads.empty()) {
            if (s.q_lora_rank > 0) {
                matrix(WeightRole::q_a, {self + "q_a_proj.weight", {0, s.q_lora_rank}, all});
                if (s.attention_bias) vector(WeightRole::q_a_bias, self + "q_a_proj.bias", s.q_lora_rank);
                vector(WeightRole::q_a_norm, self + "q_a_layernorm.weight", s.q_lora_rank);
                matrix(WeightRole::q_b,
                       {self + "q_b_proj.weight", head_rows(s.qk_head_dim()), {0, s.q_lora_rank}});
            } else {
                matrix(WeightRole::q, {self + "q_proj.weight", head_rows(s.qk_head_dim()), all});
            }
            const std::int64_t latent = s.kv_lora_rank + s.qk_rope_head_dim;
            matrix(WeightRole::kv_a, {self + "kv_a_proj_with_mqa.weight", {0, latent}, all});
            if (s.attention_bias) vector(WeightRole::kv_a_bias, self + "kv_a_proj_with_mqa.bias", latent);
            vector(WeightRole::kv_a_norm, self + "kv_a_layernorm.weight", s.kv_lora_rank);
            matrix(WeightRole::kv_b, {self + "kv_b_proj.weight",
                                      head_rows(s.qk_nope_head_dim + s.v_head_dim),
                                      {0, s.kv_lora_rank}});
            matrix(WeightRole::o, {self + "o_proj.weight", all, head_rows(s.v_head_dim)});
        }
        // Added once, by the last tp rank, which always holds heads.
        if (s.attention_bias && position_.tp == placement_.attention_tp - 1)
            vector(WeightRole::o_bias, self + "o_proj.bias", s.hidden_size);
    }

    // gate and up stacked by rows, and down, of one MLP restricted to `width`.
    void mlp(WeightRole gate_up, WeightRole down, const std::string& name, Range width) {
        const Range all{0, spec_.hidden_size};
        add(gate_up, {{name + "gate_proj.weight", width, all}, {name + "up_proj.weight", width, all}}, true);
        matrix(down, {name + "down_proj.weight", all, width});
    }

    void moe() {
        const Range all{0, spec_.hidden_size};
        plain(WeightRole::router, {prefix_ + "mlp.gate.weight", {0, spec_.n_routed_experts}, all});
        if (spec_.n_shared_experts > 0) {
            const Range width = placement_.rows_replicated() ? shards_.shared_width
                                                             : Range{0, spec_.shared_intermediate_size()};
            mlp(WeightRole::shared_gate_up, WeightRole::shared_down, prefix_ + "mlp.shared_experts.", width);
        }
        std::vector<WeightPiece> gate_up, down;
        for (std::int64_t e = shards_.experts.begin; e < shards_.experts.end; ++e) {
            const std::string expert = prefix_ + "mlp.experts." + std::to_string(e) + ".";
            gate_up.push_back({expert + "gate_proj.weight", shards_.expert_width, all});
            gate_up.push_back({expert + "up_proj.weight", shards_.expert_width, all});
            down.push_back({expert + "down_proj.weight", all, shards_.expert_width});
        }
        add(WeightRole::expert_gate_up, std::move(gate_up), true, shards_.experts.size());
        add(WeightRole::expert_down, std::move(down), true, shards_.experts.size());
    }

    const Placement& placement_;
    const model::ModelSpec& spec_;
    Shards shards_;
    Position position_;
    std::int64_t layer_ = -1;
    std::string prefix_;
    std::vector<Weight> weights_;
};

}  // namespace

std::string Weight::name() const {
    const std::string role_name = kRoleNames[static_cast<std::size_t>(role)];
    return layer < 0 ? role_name : "layers." + std::to_string(layer) + "." + role_name;
}

std::vector<Weight> weights_of(const Placement& placement, const model::ModelSpec& spec, const Extent& extent,
                               std::int64_t rank) {
    return Collector(placement, spec, rank).collect(extent);
}

}  // namespace eps::placement
