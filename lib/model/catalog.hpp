// Every tensor of a model: its published name, its shape, and what it is part of.
#pragma once

#include "model/spec.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace eps::model {

enum class Part : std::uint8_t { embedding, norm, attention, dense_mlp, gate, shared, routed, head };
constexpr std::int64_t kNumParts = 8;
std::string_view name_of(Part part);

/// A matrix is stored [rows, cols] = [out, in]; a vector (norm weight, bias) is stored [cols] and counts as
/// one row.
struct Tensor {
    std::string name;
    std::int64_t rows = 0;
    std::int64_t cols = 0;
    bool is_vector = false;
    Part part = Part::embedding;
    std::int64_t layer = -1;   // -1: of no layer
    std::int64_t expert = -1;  // routed expert, or -1

    std::int64_t num_values() const { return rows * cols; }
};

// Published names. `projection` is "gate_proj", "up_proj" or "down_proj"; attention's `module` is one of
// those of MLA
// ("q_proj", "q_a_proj", "q_a_layernorm", "q_b_proj", "kv_a_proj_with_mqa", "kv_a_layernorm", "kv_b_proj",
// "o_proj").
inline constexpr std::string_view kEmbeddingName = "model.embed_tokens.weight";
inline constexpr std::string_view kFinalNormName = "model.norm.weight";
/// lm_head's, or the embedding's where embeddings are tied.
std::string head_name(const ModelSpec& spec);
std::string input_norm_name(std::int64_t layer);
std::string post_attention_norm_name(std::int64_t layer);
std::string attention_name(std::int64_t layer, std::string_view module);
std::string attention_bias_name(std::int64_t layer, std::string_view module);
std::string dense_name(std::int64_t layer, std::string_view projection);
std::string gate_name(std::int64_t layer);
std::string shared_name(std::int64_t layer, std::string_view projection);
std::string expert_name(std::int64_t layer, std::int64_t expert, std::string_view projection);

/// The tensors of the embedding, the layers below spec.num_layers, the final norm and the head (none where
/// tied), in that order.
class Catalog {
  public:
    explicit Catalog(const ModelSpec& spec);

    const std::vector<Tensor>& tensors() const& { return tensors_; }
    void tensors() && = delete;  // would dangle in a range-for
    /// nullptr when the model has no tensor of that name.
    const Tensor* find(const std::string& name) const;

  private:
    std::vector<Tensor> tensors_;
    std::unordered_map<std::string, std::size_t> index_of_name_;
};

}  // namespace eps::model
