#include "model/cost.hpp"
#include "tests/catch.hpp"
#include "tests/model/model_texts.hpp"

#include <utility>

using namespace eps;
using namespace eps::model;

namespace {

std::int64_t catalog_sum(const ModelSpec& spec) {
    std::int64_t sum = 0;
    const Catalog catalog(spec);
    for (const Tensor& tensor : catalog.tensors()) sum += tensor.num_values();
    return sum;
}

/// FLOPs a token without the head, in units of 1e9, for one sequence of that length.
double gflop_per_token(const ModelSpec& spec, std::int64_t length) {
    return static_cast<double>(cost_of_layers(spec, {length}, DType::bf16).total().flops) /
           static_cast<double>(length) * 1e-9;
}

}  // namespace

TEST_CASE("published totals") {
    CHECK(num_parameters(load_preset("deepseek-v2-lite")) == 15706484224);
    CHECK(num_parameters(load_preset("deepseek-v2")) == 235741434880);
}

TEST_CASE("published FLOPs of DeepSeek-V2") {
    const ModelSpec spec = load_preset("deepseek-v2");
    const ModelCost one = cost_of_model(spec, {1}, DType::bf16);
    CHECK(static_cast<double>(one.total().flops - one[Part::head].flops - one.attention_pair_flops) * 1e-9 ==
          Approx(40.65).epsilon(1e-4));
    CHECK(gflop_per_token(spec, 1024) == Approx(43.2).epsilon(1e-3));
    CHECK(gflop_per_token(spec, 2048) == Approx(45.7).epsilon(1e-3));
    CHECK(gflop_per_token(spec, 4096) == Approx(50.7).epsilon(1e-3));
    CHECK(gflop_per_token(spec, 8192) == Approx(60.8).epsilon(1e-3));
    CHECK(expert_flops(spec) == 2 * 23592960);
    CHECK(one[Part::attention].parameters / 60 == 149225472);
}

TEST_CASE("closed form and catalogue agree on every kind of model") {
    for (const char* overrides :
         {"{}", R"({"q_lora_rank": null})", R"({"attention_bias": true})",
          R"({"attention_bias": true, "q_lora_rank": 0})", R"({"tie_word_embeddings": true})",
          R"({"n_shared_experts": null})", R"({"n_routed_experts": null})", R"({"moe_layer_freq": 3})",
          R"({"first_k_dense_replace": 20})", R"({"v_head_dim": 7, "hidden_size": 31})"}) {
        INFO(overrides);
        for (const std::int64_t layers : {1, 3, 8}) {
            const ModelSpec spec = load_preset("tiny", overrides, layers);
            CHECK(num_parameters(spec) == catalog_sum(spec));
        }
    }
    const ModelSpec v2 = load_preset("deepseek-v2");
    CHECK(num_parameters(v2) == catalog_sum(v2));
}

TEST_CASE("parts of the catalogue and of the cost hold the same parameters") {
    const ModelSpec spec = tiny_with(R"({"attention_bias": true})");
    const ModelCost cost = cost_of_model(spec, {5}, DType::f32);
    std::array<std::int64_t, kNumParts> sums{};
    const Catalog catalog(spec);
    for (const Tensor& tensor : catalog.tensors())
        sums[static_cast<std::size_t>(tensor.part)] += tensor.num_values();
    for (std::size_t part = 0; part < sums.size(); ++part) {
        INFO(name_of(static_cast<Part>(part)));
        CHECK(cost.parts[part].parameters == sums[part]);
        CHECK(sums[part] > 0);
    }
}

TEST_CASE("the causal half is counted exactly") {
    CHECK(causal_pairs({}) == 0);
    CHECK(causal_pairs({1}) == 1);
    CHECK(causal_pairs({4}) == 1 + 2 + 3 + 4);
    CHECK(causal_pairs({3, 1, 2}) == 6 + 1 + 3);
    const ModelSpec spec = tiny_with("{}");
    CHECK(cost_of_layers(spec, {3, 1, 2}, DType::f32).attention_pair_flops == 8 * 10 * 4 * 2 * (24 + 16));
}

TEST_CASE("scopes contain one another") {
    const ModelSpec spec = tiny_with("{}");
    const std::vector<std::int64_t> lengths{7, 1, 12};
    const ModelCost model = cost_of_model(spec, lengths, DType::f32);
    const ModelCost layers = cost_of_layers(spec, lengths, DType::f32);
    const ModelCost moe = cost_of_moe(spec, 20, DType::f32);
    for (const Part part : {Part::gate, Part::shared, Part::routed}) {
        CHECK(model[part].flops == layers[part].flops);
        CHECK(layers[part].flops == 7 * moe[part].flops);
        CHECK(layers[part].weight_bytes == 7 * moe[part].weight_bytes);
        CHECK(layers[part].activation_bytes == 7 * moe[part].activation_bytes);
    }
    CHECK(moe[Part::attention].flops == 0);
    CHECK(layers[Part::head].flops == 0);
    CHECK(layers[Part::embedding].weight_bytes == 0);
    CHECK(model[Part::head].flops == 3 * 2 * 96 * 512);
    CHECK(moe[Part::gate].flops == 20 * 2 * 96 * 15);
    CHECK(moe[Part::routed].flops == 20 * 3 * expert_flops(spec));
    CHECK(moe[Part::shared].flops == 20 * 2 * expert_flops(spec));
    CHECK(model.total().flops == layers.total().flops + model[Part::head].flops);
    CHECK_THROWS_WITH(cost_of_moe(load_preset("tiny", "{}", 1), 20, DType::f32),
                      contains_text("needs a MoE layer"));
}

TEST_CASE("bytes follow the dtype, and few tokens read few experts") {
    const ModelSpec spec = tiny_with("{}");
    const ModelCost f32 = cost_of_model(spec, {64}, DType::f32),
                    bf16 = cost_of_model(spec, {64}, DType::bf16);
    CHECK(f32.total().weight_bytes == 2 * bf16.total().weight_bytes);
    CHECK(f32.total().activation_bytes == 2 * bf16.total().activation_bytes);
    CHECK(f32[Part::routed].weight_bytes == 4 * f32[Part::routed].parameters);
    CHECK(cost_of_moe(spec, 1, DType::f32)[Part::routed].weight_bytes == 3 * 4 * 3 * 96 * 40);
    const ModelCost tied = cost_of_model(tiny_with(R"({"tie_word_embeddings": true})"), {64}, DType::f32);
    CHECK(tied[Part::head].parameters == 0);
    CHECK(tied[Part::head].weight_bytes == f32[Part::head].weight_bytes);
}

TEST_CASE("the preset tiny is small and quick") {
    const ModelSpec spec = load_preset("tiny");
    CHECK(spec.num_layers == 8);
    CHECK(num_parameters(spec) * 4 < 10'000'000);
    const double gflop =
        static_cast<double>(
            cost_of_model(spec, std::vector<std::int64_t>(8, 128), DType::f32).total().flops) *
        1e-9;
    CHECK(gflop > 1.0);
    CHECK(gflop < 2.0);
}
