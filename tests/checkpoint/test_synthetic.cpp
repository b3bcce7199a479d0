#include "base/random.hpp"
#include "checkpoint/synthetic.hpp"
#include "checkpoint/synthetic_scale.hpp"
#include "model/catalog.hpp"
#include "model/spec_json.hpp"
#include "tests/checkpoint/files.hpp"

#include <chrono>
#include <cmath>
#include <map>
#include <set>
#include <vector>

using namespace eps;
using namespace eps::checkpoint;
using model::Catalog;
using model::load_preset;
using model::ModelSpec;

namespace {

struct Moments {
    double mean, deviation;
};

Moments moments_of(const std::vector<float>& values) {
    double sum = 0, squares = 0;
    for (const float value : values) sum += double{value};
    const double mean = sum / static_cast<double>(values.size());
    for (const float value : values) squares += (double{value} - mean) * (double{value} - mean);
    return {mean, std::sqrt(squares / static_cast<double>(values.size()))};
}

}  // namespace

TEST_CASE("values are what the definition says, one by one") {
    const ModelSpec spec = load_preset("tiny");
    const Catalog catalog(spec);
    const SyntheticScales scales(spec);
    const auto source = synthetic_weights(spec, 42);
    for (const model::Tensor& tensor : catalog.tensors()) {
        const WeightScale scale = scales.of(tensor);
        const std::vector<float> values = read_all(*source, tensor);
        bool is_right = true;
        for (std::size_t i = 0; i < values.size(); ++i) {
            const float scaled = random_normal(stream_key(42, tensor.name), i) * scale.deviation;
            is_right = is_right && values[i] == scaled + scale.mean;
        }
        INFO(tensor.name);
        CHECK(is_right);
    }
}

TEST_CASE("known values: weights never change by accident") {
    const ModelSpec spec = load_preset("tiny");
    const auto source = synthetic_weights(spec, 1);
    const auto value = [&](const std::string& name, std::int64_t row, std::int64_t column) {
        std::vector<float> one(1);
        source->read(name, {row, row + 1}, {column, column + 1}, as_rows(one, 1, 1, 1));
        return one[0];
    };
    CHECK(value("model.embed_tokens.weight", 0, 0) == 0x1.c1717p-1F);
    CHECK(value("model.layers.7.mlp.experts.14.down_proj.weight", 95, 39) == -0x1.392578p-4F);
    CHECK(value("model.layers.3.mlp.gate.weight", 3, 5) == -0x1.93955cp-4F);
    CHECK(value("model.norm.weight", 0, 95) == 0x1.09a8c4p+0F);
}

TEST_CASE("mean and deviation of every tensor") {
    const ModelSpec spec =
        load_preset("tiny", R"({"attention_bias": true, "hidden_size": 128, "kv_lora_rank": 64})");
    const Catalog catalog(spec);
    const auto source = synthetic_weights(spec, 3);
    const SyntheticScales scales(spec);
    for (const model::Tensor& tensor : catalog.tensors()) {
        INFO(tensor.name);
        const Moments found = moments_of(read_all(*source, tensor));
        const WeightScale wanted = scales.of(tensor);
        const double error = double{wanted.deviation} / std::sqrt(static_cast<double>(tensor.num_values()));
        CHECK(std::abs(found.mean - double{wanted.mean}) < 5 * error);
        CHECK(std::abs(found.deviation - double{wanted.deviation}) < 5 * error);
    }
}

TEST_CASE("scales by part") {
    const ModelSpec spec = load_preset("tiny", R"({"attention_bias": true})");
    const Catalog catalog(spec);
    const SyntheticScales scales(spec);
    const auto deviation = [&](const std::string& name) {
        return double{scales.of(*catalog.find(name)).deviation};
    };
    const double coarse = 1e-3;
    CHECK(deviation("model.embed_tokens.weight") == 1);
    CHECK(deviation("lm_head.weight") == Approx(1 / std::sqrt(96.0)).epsilon(coarse));
    CHECK(deviation("model.layers.2.mlp.gate.weight") == Approx(1.25 / std::sqrt(96.0)).epsilon(coarse));
    CHECK(deviation("model.layers.2.self_attn.q_b_proj.weight") ==
          Approx(1 / std::sqrt(48.0)).epsilon(coarse));
    CHECK(deviation("model.layers.2.self_attn.o_proj.weight") ==
          Approx(0.5 / std::sqrt(64.0)).epsilon(coarse));
    CHECK(deviation("model.layers.2.mlp.shared_experts.down_proj.weight") ==
          Approx(0.5 / 0.6 / std::sqrt(80.0)).epsilon(coarse));
    CHECK(deviation("model.layers.2.mlp.experts.3.up_proj.weight") ==
          Approx(1 / std::sqrt(96.0)).epsilon(coarse));
    CHECK(deviation("model.layers.2.self_attn.q_a_proj.bias") == Approx(0.1).epsilon(coarse));
    CHECK(double{scales.of(*catalog.find("model.norm.weight")).mean} == 1);
    // The gate's factor is taken back where it would blow rows up: sixteen times the weights, a sixteenth of
    // the experts.
    const auto routed = [&](const std::string& overrides) {
        const ModelSpec other = load_preset("tiny", overrides);
        const Catalog tensors(other);
        return double{SyntheticScales(other)
                          .of(*tensors.find("model.layers.2.mlp.experts.3.down_proj.weight"))
                          .deviation};
    };
    CHECK(routed(R"({"routed_scaling_factor": 32})") * 32 ==
          Approx(routed(R"({"routed_scaling_factor": 2})") * 2).epsilon(2 * coarse));
    CHECK(routed(R"({"norm_topk_prob": true, "routed_scaling_factor": 32})") ==
          routed(R"({"norm_topk_prob": true, "routed_scaling_factor": 2})"));
}

TEST_CASE("seeds, names and places give different values, layers beyond do not matter") {
    const auto first = [](const WeightSource& source, const std::string& name) {
        std::vector<float> row(40);
        source.read(name, {0, 1}, {0, 40}, as_rows(row, 1, 40, 40));
        return row;
    };
    const auto whole = synthetic_weights(load_preset("tiny"), 1),
               other = synthetic_weights(load_preset("tiny"), 2);
    const auto short_one = synthetic_weights(load_preset("tiny", "{}", 3), 1);
    std::set<std::vector<float>> rows;
    for (const char* name :
         {"model.layers.1.mlp.experts.3.up_proj.weight", "model.layers.1.mlp.experts.4.up_proj.weight",
          "model.layers.2.mlp.experts.3.up_proj.weight", "model.layers.1.mlp.experts.3.gate_proj.weight"}) {
        CHECK(rows.insert(first(*whole, name)).second);
        CHECK(rows.insert(first(*other, name)).second);
        CHECK(first(*whole, name) == first(*short_one, name));
    }
    CHECK_THROWS_WITH(first(*short_one, "model.layers.3.mlp.experts.3.up_proj.weight"),
                      contains_text("the model has no tensor"));
}

TEST_CASE("positions beyond 32 bits are values of their own") {
    const ModelSpec spec = load_preset("tiny", R"({"vocab_size": 16000000, "hidden_size": 4096})", 1);
    const auto source = synthetic_weights(spec, 1);
    std::vector<float> near(64), far(64);
    source->read("model.embed_tokens.weight", {1, 2}, {0, 64}, as_rows(near, 1, 64, 64));
    source->read("model.embed_tokens.weight", {1048577, 1048578}, {0, 64},
                 as_rows(far, 1, 64, 64));  // 2^32 values on
    CHECK(near != far);
    CHECK(far[0] == random_normal(stream_key(1, "model.embed_tokens.weight"), std::uint64_t{1048577} * 4096));
}

TEST_CASE("making weights is fast", "[.speed]") {
    const ModelSpec spec = load_preset("deepseek-v2-lite", "{}", 2);
    const auto source = synthetic_weights(spec, 1);
    const std::int64_t rows = 100000;
    std::vector<float> f32(static_cast<std::size_t>(rows) * 2048);
    std::vector<Bf16> bf16(f32.size());
    const auto time = [&](const char* what, Rows out, std::int64_t columns) {
        const auto start = std::chrono::steady_clock::now();
        source->read("model.embed_tokens.weight", {0, rows}, {0, columns}, out);
        const double seconds =
            std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
        const double rate = static_cast<double>(rows * columns) / seconds * 1e-6;
        WARN(what << ": " << rate << " M values/s");
        CHECK(rate > 50);
    };
    for (int round = 0; round < 2; ++round) {
        time("f32", as_rows(f32, rows, 2048, 2048), 2048);
        time("bf16", as_rows(bf16, rows, 2048, 2048), 2048);
        time("f32, 1408 columns", as_rows(f32, rows, 1408, 1408), 1408);
        time("f32, 96 columns", as_rows(f32, rows, 96, 96), 96);
    }
}
