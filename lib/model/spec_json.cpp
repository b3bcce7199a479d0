#include "model/spec_json.hpp"

#include "model/config_fields.hpp"

#include <algorithm>

#include <fmt/core.h>

namespace eps::model {
namespace {

/// Every key that changes the computation, in the spelling of ConfigFields.
const std::vector<std::string> kKnownKeys{"attention_bias",
                                          "first_k_dense_replace",
                                          "hidden_act",
                                          "hidden_size",
                                          "intermediate_size",
                                          "kv_lora_rank",
                                          "model_type",
                                          "moe_intermediate_size",
                                          "moe_layer_freq",
                                          "n_group",
                                          "n_routed_experts",
                                          "n_shared_experts",
                                          "norm_topk_prob",
                                          "num_attention_heads",
                                          "num_experts_per_tok",
                                          "num_hidden_layers",
                                          "q_lora_rank",
                                          "qk_nope_head_dim",
                                          "qk_rope_head_dim",
                                          "rms_norm_eps",
                                          "rope_scaling/beta_fast",
                                          "rope_scaling/beta_slow",
                                          "rope_scaling/factor",
                                          "rope_scaling/mscale",
                                          "rope_scaling/mscale_all_dim",
                                          "rope_scaling/original_max_position_embeddings",
                                          "rope_scaling/type",
                                          "rope_theta",
                                          "routed_scaling_factor",
                                          "scoring_func",
                                          "tie_word_embeddings",
                                          "topk_group",
                                          "topk_method",
                                          "torch_dtype",
                                          "v_head_dim",
                                          "vocab_size"};

bool is_positive(double value) {
    return value > 0;
}

/// What this program does not compute must not be passed over in silence.
void refuse_other_models(const ConfigFields& fields) {
    fields.choice("model_type", "", {"deepseek_v2"});
    fields.choice("hidden_act", "silu", {"silu"});
    fields.choice("scoring_func", "softmax", {"softmax"});
    if (fields.boolean("mlp_bias", false))
        fields.refuse("mlp_bias", "false: MLPs with a bias are not supported");
    if (fields.has("quantization_config"))
        fields.refuse("quantization_config",
                      "none: quantised weights are not supported, convert them to bf16");
}

DType stored_dtype_of(const ConfigFields& fields) {
    const std::string name = fields.choice("torch_dtype", "bfloat16", {"bfloat16", "float16", "float32"});
    return name == "bfloat16" ? DType::bf16 : name == "float16" ? DType::f16 : DType::f32;
}

void read_attention(const ConfigFields& fields, ModelSpec& spec) {
    spec.num_attention_heads = fields.integer("num_attention_heads", 1);
    // Absent could mean null or the class default 1536: ask.
    if (!fields.is_written("q_lora_rank"))
        fields.refuse("q_lora_rank", "a rank, or null for a model without q-LoRA");
    spec.q_lora_rank = fields.integer("q_lora_rank", 0, 0);
    spec.kv_lora_rank = fields.integer("kv_lora_rank", 1);
    spec.qk_nope_head_dim = fields.integer("qk_nope_head_dim", 1);
    spec.qk_rope_head_dim = fields.integer("qk_rope_head_dim", 1);
    if (spec.qk_rope_head_dim % 2 != 0) fields.refuse("qk_rope_head_dim", "an even number: rope turns pairs");
    spec.v_head_dim = fields.integer("v_head_dim", 1);
    spec.attention_bias = fields.boolean("attention_bias", false);
    spec.rope_theta = fields.number("rope_theta", 10000, "a number above 1", [](double v) { return v > 1; });
}

/// Members of the scaling that are not read must be absent or say what is done anyway.
void refuse_other_scalings(const ConfigFields& fields) {
    const std::string prefix = "rope_scaling/";
    for (const std::string& key : fields.keys()) {
        const bool is_read = std::find(kKnownKeys.begin(), kKnownKeys.end(), key) != kKnownKeys.end();
        if (!key.starts_with(prefix) || is_read || !fields.has(key)) continue;
        if (key == prefix + "truncate") {
            if (!fields.boolean(key, true)) fields.refuse(key, "true");
        } else if (key == prefix + "partial_rotary_factor") {
            fields.number(key, 1, "1", [](double v) { return v == 1; });
        } else {
            fields.refuse(key, "no such member: it is not one of YaRN's that are supported");
        }
    }
}

std::optional<Yarn> read_yarn(const ConfigFields& fields) {
    const std::string prefix = "rope_scaling/";
    if (!fields.has(prefix + "type")) {
        for (const std::string& key : fields.keys())
            if (key.starts_with(prefix) && fields.has(key))
                fields.refuse_together({key},
                                       "rope scaling without a type, expected \"type\": \"yarn\" beside it");
        return std::nullopt;
    }
    if (fields.choice(prefix + "type", "", {"yarn", "default"}) == "default") return std::nullopt;
    refuse_other_scalings(fields);
    const auto not_negative = [](double v) { return v >= 0; };
    Yarn yarn;
    if (!fields.has(prefix + "factor")) fields.refuse(prefix + "factor", "a number from 1 up");
    yarn.factor = fields.number(prefix + "factor", 1, "a number from 1 up", [](double v) { return v >= 1; });
    yarn.beta_fast = fields.number(prefix + "beta_fast", 32, "a number above 0", is_positive);
    yarn.beta_slow = fields.number(prefix + "beta_slow", 1, "a number above 0", is_positive);
    yarn.mscale = fields.number(prefix + "mscale", 1, "a number from 0 up", not_negative);
    yarn.mscale_all_dim = fields.number(prefix + "mscale_all_dim", 0, "a number from 0 up", not_negative);
    yarn.original_max_position_embeddings =
        fields.number(prefix + "original_max_position_embeddings", 4096, "a number above 0", is_positive);
    if (yarn.beta_fast < yarn.beta_slow)
        fields.refuse_together(
            {prefix + "beta_fast", prefix + "beta_slow"},
            fmt::format("beta_fast {} is below beta_slow {}", yarn.beta_fast, yarn.beta_slow));
    return yarn;
}

void read_mlps(const ConfigFields& fields, ModelSpec& spec) {
    spec.n_routed_experts = fields.integer("n_routed_experts", 0, 0);
    spec.n_shared_experts = fields.integer("n_shared_experts", 0, 0);
    spec.first_k_dense_replace = fields.integer("first_k_dense_replace", 0, 0);
    spec.moe_layer_freq = fields.integer("moe_layer_freq", 1, 1);
    spec.intermediate_size = fields.integer("intermediate_size", 1);
    // Keys of the experts may be absent where there are none.
    const auto none = spec.n_routed_experts == 0 ? std::optional<std::int64_t>(0) : std::nullopt;
    spec.moe_intermediate_size = fields.integer("moe_intermediate_size", 1, none);
    spec.num_experts_per_tok = fields.integer("num_experts_per_tok", 1, none);
}

void read_gate(const ConfigFields& fields, ModelSpec& spec) {
    // "gready" is the published class default, misspelt there.
    const std::string method =
        fields.choice("topk_method", "gready", {"greedy", "gready", "group_limited_greedy"});
    spec.group_limited = method == "group_limited_greedy" && spec.n_routed_experts > 0;
    const auto one = spec.group_limited ? std::nullopt : std::optional<std::int64_t>(1);
    const std::int64_t n_group = fields.integer("n_group", 1, one);
    const std::int64_t topk_group = fields.integer("topk_group", 1, one);
    spec.norm_topk_prob = fields.boolean("norm_topk_prob", false);
    spec.routed_scaling_factor = fields.number("routed_scaling_factor", 1, "a number above 0", is_positive);
    if (spec.n_routed_experts == 0) return;
    if (spec.num_experts_per_tok > spec.n_routed_experts)
        fields.refuse_together({"num_experts_per_tok", "n_routed_experts"},
                               fmt::format("num_experts_per_tok {} is more than n_routed_experts {}",
                                           spec.num_experts_per_tok, spec.n_routed_experts));
    if (!spec.group_limited) return;  // the greedy gate does not look at groups
    spec.n_group = n_group;
    spec.topk_group = topk_group;
    if (spec.n_routed_experts % n_group != 0)
        fields.refuse_together(
            {"n_group", "n_routed_experts"},
            fmt::format("n_routed_experts {} is no multiple of n_group {}", spec.n_routed_experts, n_group));
    if (topk_group > n_group)
        fields.refuse_together({"topk_group", "n_group"},
                               fmt::format("topk_group {} is more than n_group {}", topk_group, n_group));
    const std::int64_t reachable = topk_group * (spec.n_routed_experts / n_group);
    if (spec.num_experts_per_tok > reachable)
        fields.refuse_together(
            {"num_experts_per_tok", "topk_group", "n_group", "n_routed_experts"},
            fmt::format("num_experts_per_tok {} is more than the {} experts of topk_group {} groups",
                        spec.num_experts_per_tok, reachable, topk_group));
}

/// Sizes may be large one by one and absurd together; later arithmetic in 64-bit integers relies on this.
void refuse_impossible_total(const ConfigFields& fields, const ModelSpec& spec) {
    const auto real = [](std::int64_t value) { return static_cast<double>(value); };
    const double hidden = real(spec.hidden_size), heads = real(spec.num_attention_heads);
    const double q_inner = spec.q_lora_rank > 0 ? real(spec.q_lora_rank) : hidden;
    const double attention = heads * real(spec.qk_head_dim()) * q_inner +
                             heads * real(spec.v_head_dim) * hidden +
                             heads * real(spec.qk_nope_head_dim + spec.v_head_dim) * real(spec.kv_lora_rank) +
                             hidden * real(spec.q_lora_rank + spec.kv_lora_rank + spec.qk_rope_head_dim);
    const double experts =
        real(spec.n_routed_experts + spec.n_shared_experts) * real(spec.moe_intermediate_size);
    const double mlp = 3 * hidden * std::max(experts, real(spec.intermediate_size));
    const double total =
        real(spec.num_hidden_layers) * (attention + mlp) + 2 * real(spec.vocab_size) * hidden;
    constexpr double kMostParameters = 1e14;
    if (total > kMostParameters)
        fields.refuse_together(
            {"hidden_size", "num_hidden_layers", "num_attention_heads", "n_routed_experts", "vocab_size"},
            fmt::format("the sizes make a model of about {:.2g} parameters, more than {:.0g}", total,
                        kMostParameters));
}

}  // namespace

ModelSpec parse_spec(const ConfigText& config, const std::string& overrides_text,
                     std::optional<std::int64_t> layers) {
    ConfigFields fields(config.text, config.where, config.status);
    fields.patch(overrides_text, kKnownKeys);
    refuse_other_models(fields);
    ModelSpec spec;
    spec.name = config.name;
    spec.stored_dtype = stored_dtype_of(fields);
    spec.vocab_size = fields.integer("vocab_size", 1);
    spec.hidden_size = fields.integer("hidden_size", 1);
    spec.num_hidden_layers = fields.integer("num_hidden_layers", 1);
    spec.rms_norm_eps = fields.number("rms_norm_eps", 1e-6, "a number above 0", is_positive);
    spec.tie_word_embeddings = fields.boolean("tie_word_embeddings", false);
    read_attention(fields, spec);
    spec.yarn = read_yarn(fields);
    read_mlps(fields, spec);
    read_gate(fields, spec);
    refuse_impossible_total(fields, spec);
    spec.num_layers = layers.value_or(spec.num_hidden_layers);
    if (spec.num_layers < 1 || spec.num_layers > spec.num_hidden_layers)
        throw Error(Exit::usage,
                    fmt::format("/model/layers is {}, expected an integer from 1 to {}, the layers of {}",
                                spec.num_layers, spec.num_hidden_layers, config.where));
    return spec;
}

}  // namespace eps::model
