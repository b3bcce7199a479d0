#include "model/catalog.hpp"

#include <array>

#include <fmt/core.h>

namespace eps::model {
namespace {

std::string in_layer(std::int64_t layer, std::string_view rest) {
    return fmt::format("model.layers.{}.{}", layer, rest);
}

/// Collects tensors of one layer (or of none).
class CatalogAdder {
  public:
    CatalogAdder(std::vector<Tensor>& tensors, std::int64_t layer) : tensors_(tensors), layer_(layer) {}

    void matrix(const std::string& name, std::int64_t rows, std::int64_t cols, Part part,
                std::int64_t expert = -1) {
        tensors_.push_back({name, rows, cols, false, part, layer_, expert});
    }
    void vector(const std::string& name, std::int64_t size, Part part) {
        tensors_.push_back({name, 1, size, true, part, layer_, -1});
    }

  private:
    std::vector<Tensor>& tensors_;
    std::int64_t layer_;
};

void add_attention(const ModelSpec& spec, std::int64_t layer, CatalogAdder& add) {
    const std::int64_t hidden = spec.hidden_size, heads = spec.num_attention_heads;
    const auto name = [&](std::string_view module) { return attention_name(layer, module); };
    const auto bias = [&](std::string_view module, std::int64_t size) {
        if (spec.attention_bias) add.vector(attention_bias_name(layer, module), size, Part::attention);
    };
    if (spec.q_lora_rank == 0) {
        add.matrix(name("q_proj"), heads * spec.qk_head_dim(), hidden, Part::attention);
    } else {
        add.matrix(name("q_a_proj"), spec.q_lora_rank, hidden, Part::attention);
        bias("q_a_proj", spec.q_lora_rank);
        add.vector(name("q_a_layernorm"), spec.q_lora_rank, Part::norm);
        add.matrix(name("q_b_proj"), heads * spec.qk_head_dim(), spec.q_lora_rank, Part::attention);
    }
    add.matrix(name("kv_a_proj_with_mqa"), spec.kv_lora_rank + spec.qk_rope_head_dim, hidden,
               Part::attention);
    bias("kv_a_proj_with_mqa", spec.kv_lora_rank + spec.qk_rope_head_dim);
    add.vector(name("kv_a_layernorm"), spec.kv_lora_rank, Part::norm);
    add.matrix(name("kv_b_proj"), heads * (spec.qk_nope_head_dim + spec.v_head_dim), spec.kv_lora_rank,
               Part::attention);
    add.matrix(name("o_proj"), hidden, heads * spec.v_head_dim, Part::attention);
    bias("o_proj", hidden);
}

/// `name_of_projection` turns "gate_proj" and so on into the tensor's name.
template <typename Name>
void add_mlp(std::int64_t hidden, std::int64_t width, Part part, std::int64_t expert, Name name_of_projection,
             CatalogAdder& add) {
    add.matrix(name_of_projection("gate_proj"), width, hidden, part, expert);
    add.matrix(name_of_projection("up_proj"), width, hidden, part, expert);
    add.matrix(name_of_projection("down_proj"), hidden, width, part, expert);
}

void add_moe(const ModelSpec& spec, std::int64_t layer, CatalogAdder& add) {
    const std::int64_t hidden = spec.hidden_size;
    add.matrix(gate_name(layer), spec.n_routed_experts, hidden, Part::gate);
    for (std::int64_t expert = 0; expert < spec.n_routed_experts; ++expert)
        add_mlp(
            hidden, spec.moe_intermediate_size, Part::routed, expert,
            [&](std::string_view projection) { return expert_name(layer, expert, projection); }, add);
    if (spec.n_shared_experts > 0)
        add_mlp(
            hidden, spec.shared_intermediate_size(), Part::shared, -1,
            [&](std::string_view projection) { return shared_name(layer, projection); }, add);
}

void add_layer(const ModelSpec& spec, std::int64_t layer, std::vector<Tensor>& tensors) {
    CatalogAdder add(tensors, layer);
    add.vector(input_norm_name(layer), spec.hidden_size, Part::norm);
    add_attention(spec, layer, add);
    add.vector(post_attention_norm_name(layer), spec.hidden_size, Part::norm);
    if (spec.is_moe(layer)) {
        add_moe(spec, layer, add);
    } else {
        add_mlp(
            spec.hidden_size, spec.intermediate_size, Part::dense_mlp, -1,
            [&](std::string_view projection) { return dense_name(layer, projection); }, add);
    }
}

}  // namespace

std::string_view name_of(Part part) {
    constexpr std::array<std::string_view, kNumParts> kNames{"embedding", "norm",   "attention", "dense_mlp",
                                                             "gate",      "shared", "routed",    "head"};
    return kNames[static_cast<std::size_t>(part)];
}

std::string head_name(const ModelSpec& spec) {
    return spec.tie_word_embeddings ? std::string(kEmbeddingName) : "lm_head.weight";
}
std::string input_norm_name(std::int64_t layer) {
    return in_layer(layer, "input_layernorm.weight");
}
std::string post_attention_norm_name(std::int64_t layer) {
    return in_layer(layer, "post_attention_layernorm.weight");
}
std::string attention_name(std::int64_t layer, std::string_view module) {
    return fmt::format("model.layers.{}.self_attn.{}.weight", layer, module);
}
std::string attention_bias_name(std::int64_t layer, std::string_view module) {
    return fmt::format("model.layers.{}.self_attn.{}.bias", layer, module);
}
std::string dense_name(std::int64_t layer, std::string_view projection) {
    return fmt::format("model.layers.{}.mlp.{}.weight", layer, projection);
}
std::string gate_name(std::int64_t layer) {
    return in_layer(layer, "mlp.gate.weight");
}
std::string shared_name(std::int64_t layer, std::string_view projection) {
    return fmt::format("model.layers.{}.mlp.shared_experts.{}.weight", layer, projection);
}
std::string expert_name(std::int64_t layer, std::int64_t expert, std::string_view projection) {
    return fmt::format("model.layers.{}.mlp.experts.{}.{}.weight", layer, expert, projection);
}

Catalog::Catalog(const ModelSpec& spec) {
    CatalogAdder add(tensors_, -1);
    add.matrix(std::string(kEmbeddingName), spec.vocab_size, spec.hidden_size, Part::embedding);
    for (std::int64_t layer = 0; layer < spec.num_layers; ++layer) add_layer(spec, layer, tensors_);
    add.vector(std::string(kFinalNormName), spec.hidden_size, Part::norm);
    if (!spec.tie_word_embeddings) add.matrix(head_name(spec), spec.vocab_size, spec.hidden_size, Part::head);
    index_of_name_.reserve(tensors_.size());
    for (std::size_t i = 0; i < tensors_.size(); ++i) index_of_name_.emplace(tensors_[i].name, i);
}

const Tensor* Catalog::find(const std::string& name) const {
    const auto found = index_of_name_.find(name);
    return found == index_of_name_.end() ? nullptr : &tensors_[found->second];
}

}  // namespace eps::model
