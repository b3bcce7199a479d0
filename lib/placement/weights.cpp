#include "placement/weights.hpp"

#include "model/catalog.hpp"

#include <algorithm>
#include <iterator>
#include <string_view>
#include <utility>

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
            plain(WeightRole::embedding,
                  {std::string(model::kEmbeddingName), {0, spec_.vocab_size}, {0, hidden}});
        for (layer_ = std::max(extent.layers.begin, shards_.layers.begin);
             layer_ < std::min(extent.layers.end, shards_.layers.end); ++layer_) {
            if (extent.attention) attention();
            vector(WeightRole::post_norm, model::post_attention_norm_name(layer_), hidden);
            if (spec_.is_moe(layer_)) {
                moe();
            } else {
                const Range width =
                    placement_.rows_replicated() ? shards_.dense_width : Range{0, spec_.intermediate_size};
                mlp(WeightRole::gate_up, WeightRole::down, model::dense_name, width);
            }
        }
        layer_ = -1;
        if (extent.embedding && shards_.head) {
            vector(WeightRole::final_norm, std::string(model::kFinalNormName), hidden);
            matrix(WeightRole::lm_head, {model::head_name(spec_), shards_.vocabulary, {0, hidden}});
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
        const auto name = [&](std::string_view module) { return model::attention_name(layer_, module); };
        const auto bias = [&](std::string_view module) { return model::attention_bias_name(layer_, module); };
        const Range all{0, s.hidden_size};
        const Range heads = shards_.heads;
        const auto head_rows = [&](std::int64_t dim) { return Range{heads.begin * dim, heads.end * dim}; };
        vector(WeightRole::input_norm, model::input_norm_name(layer_), s.hidden_size);
        if (!heads.empty()) {
            if (s.q_lora_rank > 0) {
                matrix(WeightRole::q_a, {name("q_a_proj"), {0, s.q_lora_rank}, all});
                if (s.attention_bias) vector(WeightRole::q_a_bias, bias("q_a_proj"), s.q_lora_rank);
                vector(WeightRole::q_a_norm, name("q_a_layernorm"), s.q_lora_rank);
                matrix(WeightRole::q_b, {name("q_b_proj"), head_rows(s.qk_head_dim()), {0, s.q_lora_rank}});
            } else {
                matrix(WeightRole::q, {name("q_proj"), head_rows(s.qk_head_dim()), all});
            }
            const std::int64_t latent = s.kv_lora_rank + s.qk_rope_head_dim;
            matrix(WeightRole::kv_a, {name("kv_a_proj_with_mqa"), {0, latent}, all});
            if (s.attention_bias) vector(WeightRole::kv_a_bias, bias("kv_a_proj_with_mqa"), latent);
            vector(WeightRole::kv_a_norm, name("kv_a_layernorm"), s.kv_lora_rank);
            matrix(WeightRole::kv_b,
                   {name("kv_b_proj"), head_rows(s.qk_nope_head_dim + s.v_head_dim), {0, s.kv_lora_rank}});
            matrix(WeightRole::o, {name("o_proj"), all, head_rows(s.v_head_dim)});
        }
        // Added once, by the last tp rank, which always holds heads.
        if (s.attention_bias && position_.tp == placement_.attention_tp - 1)
            vector(WeightRole::o_bias, bias("o_proj"), s.hidden_size);
    }

    // gate and up stacked by rows, and down, of one MLP restricted to `width`.
    void mlp(WeightRole gate_up, WeightRole down, std::string (*name)(std::int64_t, std::string_view),
             Range width) {
        const Range all{0, spec_.hidden_size};
        add(gate_up, {{name(layer_, "gate_proj"), width, all}, {name(layer_, "up_proj"), width, all}}, true);
        matrix(down, {name(layer_, "down_proj"), all, width});
    }

    void moe() {
        const Range all{0, spec_.hidden_size};
        plain(WeightRole::router, {model::gate_name(layer_), {0, spec_.n_routed_experts}, all});
        if (spec_.n_shared_experts > 0) {
            const Range width = placement_.rows_replicated() ? shards_.shared_width
                                                             : Range{0, spec_.shared_intermediate_size()};
            mlp(WeightRole::shared_gate_up, WeightRole::shared_down, model::shared_name, width);
        }
        std::vector<WeightPiece> gate_up, down;
        for (std::int64_t e = shards_.experts.begin; e < shards_.experts.end; ++e) {
            gate_up.push_back({model::expert_name(layer_, e, "gate_proj"), shards_.expert_width, all});
            gate_up.push_back({model::expert_name(layer_, e, "up_proj"), shards_.expert_width, all});
            down.push_back({model::expert_name(layer_, e, "down_proj"), all, shards_.expert_width});
        }
        add(WeightRole::expert_gate_up, std::move(gate_up), true, shards_.experts.size());
        add(WeightRole::expert_down, std::move(down), true, shards_.experts.size());
    }

    const Placement& placement_;
    const model::ModelSpec& spec_;
    Shards shards_;
    Position position_;
    std::int64_t layer_ = -1;
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
