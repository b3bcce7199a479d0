#include "model/catalog.hpp"
#include "tests/catch.hpp"
#include "tests/model/model_texts.hpp"

#include <set>

using namespace eps::model;

namespace {

void expect(const Catalog& catalog, const std::string& name, std::int64_t rows, std::int64_t cols) {
    INFO(name);
    const Tensor* const tensor = catalog.find(name);
    REQUIRE(tensor != nullptr);
    CHECK(tensor->name == name);
    CHECK(tensor->rows == rows);
    CHECK(tensor->cols == cols);
}

}  // namespace

TEST_CASE("published names and shapes of DeepSeek-V2") {
    const Catalog catalog(load_preset("deepseek-v2", "{}", 2));
    expect(catalog, "model.embed_tokens.weight", 102400, 5120);
    expect(catalog, "lm_head.weight", 102400, 5120);
    expect(catalog, "model.norm.weight", 1, 5120);
    expect(catalog, "model.layers.0.input_layernorm.weight", 1, 5120);
    expect(catalog, "model.layers.1.self_attn.q_a_proj.weight", 1536, 5120);
    expect(catalog, "model.layers.1.self_attn.q_a_layernorm.weight", 1, 1536);
    expect(catalog, "model.layers.1.self_attn.q_b_proj.weight", 24576, 1536);
    expect(catalog, "model.layers.1.self_attn.kv_a_proj_with_mqa.weight", 576, 5120);
    expect(catalog, "model.layers.1.self_attn.kv_a_layernorm.weight", 1, 512);
    expect(catalog, "model.layers.1.self_attn.kv_b_proj.weight", 32768, 512);
    expect(catalog, "model.layers.1.self_attn.o_proj.weight", 5120, 16384);
    expect(catalog, "model.layers.0.mlp.gate_proj.weight", 12288, 5120);
    expect(catalog, "model.layers.0.mlp.down_proj.weight", 5120, 12288);
    expect(catalog, "model.layers.1.mlp.gate.weight", 160, 5120);
    expect(catalog, "model.layers.1.mlp.experts.159.up_proj.weight", 1536, 5120);
    expect(catalog, "model.layers.1.mlp.experts.0.down_proj.weight", 5120, 1536);
    expect(catalog, "model.layers.1.mlp.shared_experts.gate_proj.weight", 3072, 5120);
    expect(catalog, "model.layers.1.mlp.shared_experts.down_proj.weight", 5120, 3072);
    CHECK(catalog.find("model.layers.2.input_layernorm.weight") == nullptr);
    CHECK(catalog.find("model.layers.1.self_attn.q_proj.weight") == nullptr);
    CHECK(catalog.find("model.layers.1.self_attn.o_proj.bias") == nullptr);
    CHECK(catalog.tensors().size() == 3 + 12 + 9 + 1 + 3 + 480);
}

TEST_CASE("DeepSeek-V2-Lite has the published number of tensors") {
    const Catalog catalog(load_preset("deepseek-v2-lite"));
    CHECK(catalog.tensors().size() == 5291);
    expect(catalog, "model.layers.3.self_attn.q_proj.weight", 3072, 2048);
    expect(catalog, "model.layers.3.self_attn.kv_b_proj.weight", 4096, 512);
    expect(catalog, "model.layers.3.self_attn.o_proj.weight", 2048, 2048);
}

TEST_CASE("tensors know their place") {
    const Catalog catalog(tiny_with(R"({"attention_bias": true})"));
    std::set<std::string> names;
    for (const Tensor& tensor : catalog.tensors()) {
        CHECK(names.insert(tensor.name).second);
        CHECK(tensor.num_values() > 0);
        CHECK((tensor.is_vector ? tensor.rows == 1 : true));
        CHECK((tensor.expert >= 0) == (tensor.part == Part::routed));
    }
    const Tensor* const expert = catalog.find(expert_name(5, 14, "down_proj"));
    REQUIRE(expert != nullptr);
    CHECK(expert->layer == 5);
    CHECK(expert->expert == 14);
    CHECK(expert->part == Part::routed);
    CHECK(catalog.find(gate_name(1))->part == Part::gate);
    CHECK(catalog.find(shared_name(1, "up_proj"))->part == Part::shared);
    CHECK(catalog.find(dense_name(0, "up_proj"))->part == Part::dense_mlp);
    CHECK(catalog.find(attention_name(0, "kv_a_layernorm"))->part == Part::norm);
    CHECK(catalog.find(input_norm_name(7))->is_vector);
    CHECK(catalog.find(post_attention_norm_name(7))->layer == 7);
    CHECK(catalog.find(std::string(kEmbeddingName))->layer == -1);
    CHECK(catalog.find(std::string(kFinalNormName))->is_vector);
    for (const char* module : {"q_a_proj", "kv_a_proj_with_mqa", "o_proj"}) {
        const Tensor* const bias = catalog.find(attention_bias_name(2, module));
        REQUIRE(bias != nullptr);
        CHECK(bias->is_vector);
        CHECK(bias->part == Part::attention);
        CHECK(bias->cols == catalog.find(attention_name(2, module))->rows);
    }
    CHECK(catalog.find(attention_bias_name(2, "q_b_proj")) == nullptr);
    CHECK(catalog.find(attention_bias_name(2, "kv_b_proj")) == nullptr);
}

TEST_CASE("variants of the family") {
    const ModelSpec tied = tiny_with(R"({"tie_word_embeddings": true})");
    CHECK(head_name(tied) == "model.embed_tokens.weight");
    CHECK(Catalog(tied).find("lm_head.weight") == nullptr);
    CHECK(head_name(tiny_with("{}")) == "lm_head.weight");
    const Catalog biased(tiny_with(R"({"attention_bias": true, "q_lora_rank": null})"));
    CHECK(biased.find(attention_bias_name(0, "q_a_proj")) == nullptr);
    CHECK(biased.find(attention_bias_name(0, "q_proj")) == nullptr);
    CHECK(biased.find(attention_bias_name(0, "o_proj")) != nullptr);
    CHECK(Catalog(tiny_with(R"({"n_shared_experts": null})")).find(shared_name(1, "up_proj")) == nullptr);
    const Catalog sparse(tiny_with(R"({"moe_layer_freq": 3})"));
    CHECK(sparse.find(gate_name(3)) != nullptr);
    CHECK(sparse.find(gate_name(4)) == nullptr);
    CHECK(sparse.find(dense_name(4, "gate_proj")) != nullptr);
    CHECK(Catalog(tiny_with(R"({"n_routed_experts": null})")).find(gate_name(3)) == nullptr);
}
