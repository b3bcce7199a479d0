#include "model/spec_json.hpp"
#include "tests/catch.hpp"
#include "tests/model/model_texts.hpp"

#include <filesystem>
#include <fstream>
#include <optional>
#include <vector>

#include <nlohmann/json.hpp>

using namespace eps;
using namespace eps::model;
using nlohmann::json;

namespace {

struct Failure {
    Exit status = Exit::ok;
    std::string message = "no error";
};

template <typename F>
Failure failure_of(F&& parse) {
    try {
        parse();
    } catch (const Error& error) {
        return {error.status(), error.what()};
    }
    return {};
}

json tiny_json() {
    return json::parse(preset_text("tiny"));
}

/// tiny's config with some keys replaced.
std::string changed(const json& changes) {
    json config = tiny_json();
    for (const auto& [key, value] : changes.items()) config[key] = value;
    return config.dump();
}

std::string without(const std::string& key) {
    json config = tiny_json();
    config.erase(key);
    return config.dump();
}

ModelSpec parse(const std::string& text) {
    return parse_spec({"m", text, "m/config.json", Exit::data});
}

void expect_data(const std::string& text, const std::string& message) {
    const Failure failure = failure_of([&] { parse(text); });
    INFO(failure.message);
    CHECK(failure.status == Exit::data);
    CHECK_THAT(failure.message, contains_text(message));
    CHECK_THAT(failure.message, contains_text("m/config.json: "));
    CHECK(failure.message.find('\n') == std::string::npos);
}

/// The same fault in a checkpoint's config and as an override of it.
void expect_bad(const std::string& key, const json& value, const std::string& message) {
    expect_data(changed({{key, value}}), "m/config.json: /" + key + message);
    const std::string overrides = json({{key, value}}).dump();
    const Failure failure = failure_of([&] {
        parse_spec({"m", preset_text("tiny"), "m/config.json", Exit::data}, overrides);
    });
    INFO(failure.message);
    CHECK(failure.status == Exit::usage);
    CHECK_THAT(failure.message, contains_text("/model/overrides/" + key + message));
}

void expect_override(const std::string& overrides, const std::string& message) {
    const Failure failure = failure_of([&] {
        parse_spec({"m", preset_text("tiny"), "m/config.json", Exit::data}, overrides);
    });
    INFO(failure.message);
    CHECK(failure.status == Exit::usage);
    CHECK_THAT(failure.message, contains_text(message));
}

}  // namespace

TEST_CASE("every field of DeepSeek-V2 and V2-Lite") {
    const ModelSpec v2 = load_preset("deepseek-v2");
    CHECK(v2.name == "deepseek-v2");
    CHECK(v2.vocab_size == 102400);
    CHECK(v2.hidden_size == 5120);
    CHECK(v2.num_layers == 60);
    CHECK(v2.num_hidden_layers == 60);
    CHECK(v2.rms_norm_eps == 1e-6);
    CHECK_FALSE(v2.tie_word_embeddings);
    CHECK(v2.num_attention_heads == 128);
    CHECK(v2.q_lora_rank == 1536);
    CHECK(v2.kv_lora_rank == 512);
    CHECK(v2.qk_nope_head_dim == 128);
    CHECK(v2.qk_rope_head_dim == 64);
    CHECK(v2.v_head_dim == 128);
    CHECK_FALSE(v2.attention_bias);
    CHECK(v2.rope_theta == 10000);
    REQUIRE(v2.yarn);
    CHECK(v2.yarn->factor == 40);
    CHECK(v2.yarn->beta_fast == 32);
    CHECK(v2.yarn->beta_slow == 1);
    CHECK(v2.yarn->mscale == 0.707);
    CHECK(v2.yarn->mscale_all_dim == 0.707);
    CHECK(v2.yarn->original_max_position_embeddings == 4096);
    CHECK(v2.intermediate_size == 12288);
    CHECK(v2.moe_intermediate_size == 1536);
    CHECK(v2.n_routed_experts == 160);
    CHECK(v2.n_shared_experts == 2);
    CHECK(v2.first_k_dense_replace == 1);
    CHECK(v2.moe_layer_freq == 1);
    CHECK(v2.num_experts_per_tok == 6);
    CHECK(v2.group_limited);
    CHECK(v2.n_group == 8);
    CHECK(v2.topk_group == 3);
    CHECK_FALSE(v2.norm_topk_prob);
    CHECK(v2.routed_scaling_factor == 16);
    CHECK(v2.stored_dtype == DType::bf16);
    CHECK(v2.first_moe_layer() == 1);

    const ModelSpec lite = load_preset("deepseek-v2-lite", "{}", 2);
    CHECK(lite.num_layers == 2);
    CHECK(lite.num_hidden_layers == 27);
    CHECK(lite.hidden_size == 2048);
    CHECK(lite.num_attention_heads == 16);
    CHECK(lite.q_lora_rank == 0);
    CHECK(lite.intermediate_size == 10944);
    CHECK(lite.moe_intermediate_size == 1408);
    CHECK(lite.n_routed_experts == 64);
    CHECK_FALSE(lite.group_limited);
    CHECK(lite.n_group == 1);
    CHECK(lite.routed_scaling_factor == 1);
}

TEST_CASE("the configs of the two cases") {
    const std::string cases = std::string(EPS_SOURCE_DIR) + "/tests/data/cases/";
    const ModelSpec v2 = load_checkpoint_spec(cases + "tiny_v2");
    CHECK(v2.name == "tiny_v2");
    CHECK(v2.yarn.has_value());
    CHECK(v2.n_group == 4);
    CHECK(v2.routed_scaling_factor == 2.5);
    const ModelSpec lite = load_checkpoint_spec(cases + "tiny_v2_lite/");
    CHECK(lite.name == "tiny_v2_lite");
    CHECK_FALSE(lite.yarn.has_value());
    CHECK(lite.norm_topk_prob);
    CHECK(lite.stored_dtype == DType::f32);
}

TEST_CASE("the rope settings and the dtype in the other spelling") {
    json config = tiny_json();
    json rope = config["rope_scaling"];
    rope.erase("type");
    rope["rope_type"] = "yarn";
    rope["rope_theta"] = 5000.0;
    rope["attention_factor"] = nullptr;
    rope["truncate"] = true;
    rope["partial_rotary_factor"] = 1.0;
    config.erase("rope_scaling");
    config.erase("rope_theta");
    config.erase("torch_dtype");
    config["rope_parameters"] = rope;
    config["dtype"] = "float16";
    const ModelSpec spec = parse(config.dump());
    REQUIRE(spec.yarn);
    CHECK(spec.yarn->factor == 40);
    CHECK(spec.yarn->mscale_all_dim == 0.707);
    CHECK(spec.rope_theta == 5000);
    CHECK(spec.stored_dtype == DType::f16);

    config["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", 20000}, {"type", "default"}};
    CHECK_FALSE(parse(config.dump()).yarn);
    CHECK(parse(config.dump()).rope_theta == 20000);
    config["rope_parameters"] = nullptr;
    CHECK_FALSE(parse(config.dump()).yarn);
    CHECK(parse(config.dump()).rope_theta == 10000);
    config["rope_parameters"] = {{"rope_theta", 20000}};
    CHECK_FALSE(parse(config.dump()).yarn);
}

TEST_CASE("two spellings at once must agree") {
    CHECK(parse(changed({{"dtype", "float32"}})).stored_dtype == DType::f32);
    CHECK(parse(changed({{"dtype", nullptr}})).stored_dtype == DType::f32);
    CHECK(parse(changed({{"torch_dtype", nullptr}, {"dtype", "float16"}})).stored_dtype == DType::f16);
    expect_data(changed({{"dtype", "bfloat16"}}), "two spellings of one setting");
    CHECK(
        parse(changed({{"rope_parameters", {{"rope_type", "yarn"}, {"rope_theta", 10000}}}})).yarn->factor ==
        40);
    expect_data(changed({{"rope_parameters", {{"rope_type", "default"}}}}), "two spellings of one setting");
    expect_data(changed({{"rope_parameters", {{"rope_theta", 1e6}}}}), "two spellings of one setting");
}

TEST_CASE("yarn's defaults") {
    const ModelSpec spec = parse(changed({{"rope_scaling", {{"type", "yarn"}, {"factor", 4}}}}));
    REQUIRE(spec.yarn);
    CHECK(spec.yarn->factor == 4);
    CHECK(spec.yarn->beta_fast == 32);
    CHECK(spec.yarn->beta_slow == 1);
    CHECK(spec.yarn->mscale == 1);
    CHECK(spec.yarn->mscale_all_dim == 0);
    CHECK(spec.yarn->original_max_position_embeddings == 4096);
}

TEST_CASE("optional keys have the published defaults") {
    json config = tiny_json();
    for (const char* key :
         {"attention_bias", "first_k_dense_replace", "hidden_act", "moe_layer_freq", "n_group", "topk_group",
          "n_shared_experts", "norm_topk_prob", "rms_norm_eps", "rope_scaling", "rope_theta",
          "routed_scaling_factor", "scoring_func", "tie_word_embeddings", "topk_method", "torch_dtype",
          "architectures", "num_key_value_heads", "max_position_embeddings"})
        REQUIRE(config.erase(key) == 1);
    const ModelSpec spec = parse(config.dump());
    CHECK_FALSE(spec.attention_bias);
    CHECK(spec.first_k_dense_replace == 0);
    CHECK(spec.moe_layer_freq == 1);
    CHECK(spec.n_group == 1);
    CHECK(spec.topk_group == 1);
    CHECK(spec.n_shared_experts == 0);
    CHECK(spec.rms_norm_eps == 1e-6);
    CHECK_FALSE(spec.yarn);
    CHECK(spec.rope_theta == 10000);
    CHECK(spec.routed_scaling_factor == 1);
    CHECK_FALSE(spec.group_limited);
    CHECK(spec.stored_dtype == DType::bf16);
}

TEST_CASE("the ways to say none") {
    CHECK(parse(changed({{"q_lora_rank", nullptr}})).q_lora_rank == 0);
    CHECK(parse(changed({{"q_lora_rank", 0}})).q_lora_rank == 0);
    CHECK(parse(changed({{"n_shared_experts", nullptr}})).n_shared_experts == 0);
    CHECK(parse(changed({{"n_shared_experts", 0}})).n_shared_experts == 0);
    json dense = tiny_json();
    dense["n_routed_experts"] = nullptr;
    for (const char* key :
         {"moe_intermediate_size", "num_experts_per_tok", "n_group", "topk_group", "n_shared_experts"})
        dense.erase(key);
    const ModelSpec spec = parse(dense.dump());
    CHECK(spec.n_routed_experts == 0);
    CHECK(spec.first_moe_layer() == -1);
    dense["n_routed_experts"] = 0;
    CHECK(parse(dense.dump()).n_routed_experts == 0);
}

TEST_CASE("greedy gates do not look at groups") {
    for (const char* method : {"greedy", "gready"}) {
        const ModelSpec spec =
            parse(changed({{"topk_method", method}, {"n_group", nullptr}, {"topk_group", nullptr}}));
        CHECK_FALSE(spec.group_limited);
        CHECK(spec.n_group == 1);
        CHECK(spec.topk_group == 1);
        CHECK(parse(changed({{"topk_method", method}, {"n_group", 7}})).n_group == 1);
    }
    CHECK_FALSE(parse(changed({{"topk_method", nullptr}})).group_limited);
}

TEST_CASE("sizes are positive integers of a possible size") {
    for (const char* key :
         {"vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "kv_lora_rank",
          "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim", "intermediate_size", "moe_intermediate_size",
          "num_experts_per_tok", "n_group", "topk_group", "moe_layer_freq"}) {
        for (const json& value :
             {json(0), json(-3), json(2.5), json(8.0), json("8"), json(true), json(json::array({8})),
              json(16777217), json(1e300), json(18446744073709551615U), json(INT64_MIN)})
            expect_bad(key, value, " is " + shown(value) + ", expected an integer from 1 to 16777216");
    }
    for (const char* key : {"q_lora_rank", "n_routed_experts", "n_shared_experts", "first_k_dense_replace"})
        for (const json& value : {json(-1), json(0.5), json("0"), json(false)})
            expect_bad(key, value, " is " + shown(value) + ", expected an integer from 0 to 16777216");
}

TEST_CASE("required keys are named when they are missing") {
    for (const char* key :
         {"vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "kv_lora_rank",
          "q_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim", "intermediate_size",
          "moe_intermediate_size", "num_experts_per_tok", "n_group", "topk_group", "model_type"})
        expect_data(without(key), std::string("/") + key + " is missing, expected ");
    expect_data(changed({{"hidden_size", nullptr}}), "/hidden_size is null, expected an integer");
    expect_data("{}", "/model_type is missing");
}

TEST_CASE("numbers and switches") {
    for (const char* key : {"rms_norm_eps", "routed_scaling_factor"})
        for (const json& value : {json(0), json(-1e-6), json("1"), json(true)})
            expect_bad(key, value, " is " + shown(value) + ", expected a number above 0");
    for (const json& value : {json(1), json(0), json(-1), json("10000")})
        expect_bad("rope_theta", value, " is " + shown(value) + ", expected a number above 1");
    for (const char* key : {"attention_bias", "tie_word_embeddings", "norm_topk_prob"})
        for (const json& value : {json(0), json("false"), json(json::object())})
            expect_bad(key, value, " is " + shown(value) + ", expected true or false");
    expect_bad("qk_rope_head_dim", 7, " is 7, expected an even number");
}

TEST_CASE("other models are refused") {
    expect_bad("model_type", "deepseek_v3", " is \"deepseek_v3\", expected \"deepseek_v2\"");
    expect_bad("model_type", 2, " is 2, expected \"deepseek_v2\"");
    expect_bad("hidden_act", "gelu", " is \"gelu\", expected \"silu\"");
    expect_bad("scoring_func", "sigmoid", " is \"sigmoid\", expected \"softmax\"");
    expect_bad("topk_method", "noaux_tc",
               " is \"noaux_tc\", expected \"greedy\", \"gready\" or \"group_limited_greedy\"");
    expect_bad("torch_dtype", "float8_e4m3fn",
               " is \"float8_e4m3fn\", expected \"bfloat16\", \"float16\" or \"float32\"");
    expect_data(changed({{"mlp_bias", true}}), "/mlp_bias is true, expected false");
    expect_data(changed({{"quantization_config", {{"quant_method", "fp8"}}}}),
                "quantised weights are not supported");
    CHECK(parse(changed({{"mlp_bias", false}, {"quantization_config", nullptr}})).hidden_size == 96);
}

TEST_CASE("other kinds of rope scaling are refused") {
    for (const char* type : {"linear", "dynamic", "llama3", "longrope", "su"})
        expect_data(changed({{"rope_scaling", {{"type", type}, {"factor", 2}}}}),
                    "/rope_scaling/type is \"" + std::string(type) + "\", expected \"yarn\" or \"default\"");
    expect_data(changed({{"rope_scaling", {{"type", "yarn"}}}}), "/rope_scaling/factor is missing");
    expect_data(changed({{"rope_scaling", {{"factor", 40}}}}),
                "/rope_scaling/factor: rope scaling without a type");
    expect_data(changed({{"rope_scaling", "yarn"}}), "/rope_scaling is \"yarn\", expected an object or null");
    expect_data(changed({{"rope_scaling", {{"type", "yarn"}, {"rope_type", "default"}, {"factor", 2}}}}),
                "two spellings");
    const auto yarn = [](const json& more) {
        json scaling = tiny_json()["rope_scaling"];
        scaling.update(more);
        return changed({{"rope_scaling", scaling}});
    };
    expect_data(yarn({{"factor", 0.5}}), "/rope_scaling/factor is 0.5, expected a number from 1 up");
    expect_data(yarn({{"factor", "40"}}), "/rope_scaling/factor is \"40\", expected a number from 1 up");
    expect_data(yarn({{"beta_fast", 0}}), "/rope_scaling/beta_fast is 0, expected a number above 0");
    expect_data(yarn({{"beta_slow", -1}}), "/rope_scaling/beta_slow is -1");
    expect_data(yarn({{"beta_fast", 1}, {"beta_slow", 2}}), "beta_fast 1 is below beta_slow 2");
    expect_data(yarn({{"mscale", -0.5}}), "/rope_scaling/mscale is -0.5, expected a number from 0 up");
    expect_data(yarn({{"mscale_all_dim", "1"}}), "/rope_scaling/mscale_all_dim is \"1\"");
    expect_data(yarn({{"original_max_position_embeddings", 0}}),
                "/rope_scaling/original_max_position_embeddings is 0");
    expect_data(yarn({{"attention_factor", 1.5}}), "/rope_scaling/attention_factor is 1.5");
    expect_data(yarn({{"truncate", false}}), "/rope_scaling/truncate is false, expected true");
    expect_data(yarn({{"partial_rotary_factor", 0.5}}),
                "/rope_scaling/partial_rotary_factor is 0.5, expected 1");
}

TEST_CASE("choices that cannot be made are refused") {
    expect_data(changed({{"num_experts_per_tok", 16}}),
                "/num_experts_per_tok: num_experts_per_tok 16 is more than n_routed_experts 15");
    expect_data(changed({{"num_experts_per_tok", 10}}),
                "num_experts_per_tok 10 is more than the 9 experts of topk_group 3");
    expect_data(changed({{"n_group", 4}}), "n_routed_experts 15 is no multiple of n_group 4");
    expect_data(changed({{"topk_group", 6}}), "topk_group 6 is more than n_group 5");
    CHECK(parse(changed({{"num_experts_per_tok", 9}})).num_experts_per_tok == 9);
    // The overridden key is to blame, whichever of them it is.
    expect_override(R"({"num_experts_per_tok": 16})",
                    "/model/overrides/num_experts_per_tok: num_experts_per_tok 16");
    expect_override(R"({"n_routed_experts": 2, "n_group": 1, "topk_group": 1})",
                    "/model/overrides/n_routed_experts: ");
    expect_override(R"({"n_group": 4})", "/model/overrides/n_group: n_routed_experts 15 is no multiple");
    expect_override(R"({"topk_group": 1, "num_experts_per_tok": 4})", "is more than the 3 experts");
}

TEST_CASE("sizes that are absurd together are refused") {
    expect_data(changed({{"hidden_size", 16777216}, {"vocab_size", 16777216}}),
                "parameters, more than 1e+14");
    json all = {};
    for (const char* key :
         {"vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "kv_lora_rank",
          "v_head_dim", "qk_nope_head_dim", "qk_rope_head_dim", "intermediate_size", "moe_intermediate_size"})
        all[key] = 16777216;
    expect_data(changed(all), "parameters, more than 1e+14");
}

TEST_CASE("layers are the first n") {
    const ConfigText config{"m", preset_text("tiny"), "m/config.json", Exit::data};
    CHECK(parse_spec(config, "{}", 3).num_layers == 3);
    CHECK(parse_spec(config, "{}", 3).num_hidden_layers == 8);
    CHECK(parse_spec(config, "{}", 8).num_layers == 8);
    CHECK(parse_spec(config, R"({"num_hidden_layers": 12})", 12).num_layers == 12);
    for (const std::int64_t layers :
         {std::int64_t{0}, std::int64_t{-1}, std::int64_t{9}, INT64_MAX, INT64_MIN}) {
        const Failure failure = failure_of([&] { parse_spec(config, "{}", layers); });
        CHECK(failure.status == Exit::usage);
        CHECK_THAT(failure.message, contains_text("/model/layers is " + std::to_string(layers) +
                                                  ", expected an integer from 1 to 8"));
    }
}

TEST_CASE("overrides patch keys and members") {
    CHECK(tiny_with(R"({"hidden_size": 32})").hidden_size == 32);
    CHECK(tiny_with(R"({"q_lora_rank": null})").q_lora_rank == 0);
    CHECK(tiny_with(R"({"dtype": "float16"})").stored_dtype == DType::f16);
    const ModelSpec member = tiny_with(R"({"rope_scaling": {"mscale": 1.5}})");
    REQUIRE(member.yarn);
    CHECK(member.yarn->mscale == 1.5);
    CHECK(member.yarn->factor == 40);
    CHECK(member.yarn->mscale_all_dim == 0.707);
    CHECK(tiny_with(R"({"rope_parameters": {"factor": 8, "rope_theta": 77}})").yarn->factor == 8);
    CHECK(tiny_with(R"({"rope_parameters": {"factor": 8, "rope_theta": 77}})").rope_theta == 77);
    CHECK_FALSE(tiny_with(R"({"rope_scaling": null})").yarn);
    CHECK_FALSE(tiny_with(R"({"rope_parameters": {"rope_type": "default"}})").yarn);
    CHECK(tiny_with(R"({"rope_scaling": {"mscale": null}})").yarn->mscale == 1);
    const ModelSpec lite =
        load_preset("deepseek-v2-lite", R"({"rope_scaling": {"type": "yarn", "factor": 2}})");
    CHECK(lite.yarn->factor == 2);
}

TEST_CASE("overrides that are none are refused with the nearest known key") {
    expect_override(R"({"hiden_size": 32})", "/model/overrides/hiden_size: ");
    expect_override(R"({"hiden_size": 32})", "nearest known key: \"hidden_size\"");
    expect_override(R"({"num_experts_per_token": 2})", "nearest known key: \"num_experts_per_tok\"");
    expect_override(R"({"num_key_value_heads": 2})", "is no key that changes the computation");
    expect_override(R"({"rope_scaling": {"beta_fats": 2}})", "/model/overrides/rope_scaling/beta_fats: ");
    expect_override(R"({"rope_scaling": {"beta_fats": 2}})", "nearest known key: \"rope_scaling/beta_fast\"");
    expect_override("[1]", "/model/overrides: is [1], expected an object");
    expect_override("{\"hidden_size\": 8, \"hidden_size\": 8}", "duplicate key \"hidden_size\"");
    expect_override(R"({"rope_scaling": {"factor": 0}})",
                    "/model/overrides/rope_scaling/factor is 0, expected a number from 1");
    const Failure failure = failure_of([] {
        parse_spec({"m", changed({{"rope_scaling", nullptr}}), "m", Exit::data},
                   R"({"rope_scaling": {"factor": 2}})");
    });
    CHECK(failure.status == Exit::usage);
    CHECK_THAT(failure.message,
               contains_text("/model/overrides/rope_scaling/factor: rope scaling without a type"));
}

TEST_CASE("texts that are no config") {
    expect_data("", "is empty");
    expect_data("[]", ": is [], expected an object");
    expect_data("{\"hidden_size\": NaN}", "not JSON: line 1");
    expect_data("{\"hidden_size\": 1, \"hidden_size\": 2}", "/hidden_size: duplicate key");
}

TEST_CASE("presets") {
    CHECK(preset_names() == std::vector<std::string>{"deepseek-v2", "deepseek-v2-lite", "tiny"});
    const auto before = std::filesystem::current_path();
    std::filesystem::current_path("/");
    CHECK(load_preset("tiny").name == "tiny");
    std::filesystem::current_path(before);
    for (const char* name : {"deepseek-v2-light", "", "../models/tiny", "tiny.json"}) {
        const Failure failure = failure_of([&] { load_preset(name); });
        CHECK(failure.status == Exit::usage);
        CHECK_THAT(failure.message, contains_text(std::string("/model/preset is \"") + name + "\""));
        CHECK_THAT(failure.message,
                   contains_text("expected \"deepseek-v2\", \"deepseek-v2-lite\" or \"tiny\""));
    }
    CHECK_THAT(failure_of([] { load_preset("deepseek-v2-light"); }).message,
               contains_text("nearest: \"deepseek-v2-lite\""));
}

TEST_CASE("checkpoint folders without a usable config") {
    const std::filesystem::path folder = std::filesystem::temp_directory_path() / "eps_test_spec_json";
    std::filesystem::remove_all(folder);
    const auto failure = [&] { return failure_of([&] { load_checkpoint_spec(folder.string()); }); };
    CHECK(failure().status == Exit::data);
    CHECK_THAT(failure().message, contains_text("eps_test_spec_json is no folder"));
    std::filesystem::create_directories(folder);
    CHECK(failure().status == Exit::data);
    CHECK_THAT(failure().message, contains_text("config.json: no such file"));
    std::ofstream(folder / "config.json") << "{\"model_type\": \"llama\"}";
    CHECK(failure().status == Exit::data);
    CHECK_THAT(failure().message, contains_text("/model_type is \"llama\""));
    std::ofstream(folder / "config.json") << preset_text("tiny");
    CHECK(load_checkpoint_spec(folder.string()).name == "eps_test_spec_json");
    std::filesystem::remove_all(folder);
}
