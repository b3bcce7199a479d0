#include "model/cost.hpp"

#include <algorithm>
#include <numeric>

namespace eps::model {
namespace {

/// Adds ops to the parts of a ModelCost.
class CostAdder {
  public:
    CostAdder(ModelCost& cost, DType dtype) : cost_(cost), value_bytes_(bytes_of(dtype)) {}

    /// `copies` stored matrices [out, in], `read_copies` of them read, over `num_rows` rows in all.
    void linear(Part part, std::int64_t num_rows, std::int64_t in, std::int64_t out, std::int64_t copies = 1,
                std::int64_t read_copies = 1) {
        cost_[part] += {.parameters = copies * in * out,
                        .flops = 2 * num_rows * in * out,
                        .weight_bytes = read_copies * in * out * value_bytes_,
                        .activation_bytes = num_rows * (in + out) * value_bytes_};
    }
    /// A vector of `size` values applied to `num_rows` rows in and out.
    void norm(std::int64_t num_rows, std::int64_t size) {
        cost_[Part::norm] += {size, 0, size * value_bytes_, 2 * num_rows * size * value_bytes_};
    }
    void bias(Part part, std::int64_t size) { cost_[part] += {size, 0, size * value_bytes_, 0}; }
    /// Three maps; the activation reads two widths and writes one.
    void mlp(Part part, std::int64_t num_rows, std::int64_t hidden, std::int64_t width,
             std::int64_t copies = 1, std::int64_t read_copies = 1) {
        linear(part, num_rows, hidden, 2 * width, copies, read_copies);
        cost_[part].activation_bytes += num_rows * 3 * width * value_bytes_;
        linear(part, num_rows, width, hidden, copies, read_copies);
    }

    ModelCost& cost_;
    std::int64_t value_bytes_;
};

void add_attention(const ModelSpec& spec, std::int64_t num_tokens, std::int64_t num_pairs, CostAdder& add) {
    const std::int64_t hidden = spec.hidden_size, heads = spec.num_attention_heads, rank = spec.kv_lora_rank;
    const std::int64_t q_width = heads * spec.qk_head_dim();
    const std::int64_t kv_width = heads * (spec.qk_nope_head_dim + spec.v_head_dim);
    const std::int64_t out_width = heads * spec.v_head_dim;
    constexpr Part kPart = Part::attention;
    add.norm(num_tokens, hidden);
    if (spec.q_lora_rank == 0) {
        add.linear(kPart, num_tokens, hidden, q_width);
    } else {
        add.linear(kPart, num_tokens, hidden, spec.q_lora_rank);
        add.norm(num_tokens, spec.q_lora_rank);
        add.linear(kPart, num_tokens, spec.q_lora_rank, q_width);
    }
    add.linear(kPart, num_tokens, hidden, rank + spec.qk_rope_head_dim);
    add.norm(num_tokens, rank);
    add.linear(kPart, num_tokens, rank, kv_width);
    const std::int64_t pair_flops = 2 * num_pairs * heads * (spec.qk_head_dim() + spec.v_head_dim);
    const std::int64_t pair_values = num_tokens * (q_width + kv_width + spec.qk_rope_head_dim + out_width);
    add.cost_[kPart] += {.flops = pair_flops, .activation_bytes = pair_values * add.value_bytes_};
    add.cost_.attention_pair_flops += pair_flops;
    add.linear(kPart, num_tokens, out_width, hidden);
    if (spec.attention_bias) add.bias(kPart, spec.q_lora_rank + rank + spec.qk_rope_head_dim + hidden);
}

/// From the post-attention norm to the end of a MoE layer.
void add_moe(const ModelSpec& spec, std::int64_t num_tokens, CostAdder& add) {
    const std::int64_t num_slots = num_tokens * spec.num_experts_per_tok;
    add.norm(num_tokens, spec.hidden_size);
    add.linear(Part::gate, num_tokens, spec.hidden_size, spec.n_routed_experts);
    add.mlp(Part::routed, num_slots, spec.hidden_size, spec.moe_intermediate_size, spec.n_routed_experts,
            std::min(spec.n_routed_experts, num_slots));
    if (spec.n_shared_experts > 0)
        add.mlp(Part::shared, num_tokens, spec.hidden_size, spec.shared_intermediate_size());
}

void add_layers(const ModelSpec& spec, std::int64_t num_tokens, std::int64_t num_pairs, CostAdder& add) {
    for (std::int64_t layer = 0; layer < spec.num_layers; ++layer) {
        add_attention(spec, num_tokens, num_pairs, add);
        if (spec.is_moe(layer)) {
            add_moe(spec, num_tokens, add);
        } else {
            add.norm(num_tokens, spec.hidden_size);
            add.mlp(Part::dense_mlp, num_tokens, spec.hidden_size, spec.intermediate_size);
        }
    }
}

std::int64_t sum_of(const std::vector<std::int64_t>& values) {
    return std::accumulate(values.begin(), values.end(), std::int64_t{0});
}

}  // namespace

PartCost& PartCost::operator+=(const PartCost& other) {
    parameters += other.parameters;
    flops += other.flops;
    weight_bytes += other.weight_bytes;
    activation_bytes += other.activation_bytes;
    return *this;
}

PartCost ModelCost::total() const {
    PartCost total;
    for (const PartCost& part : parts) total += part;
    return total;
}

ModelCost cost_of_model(const ModelSpec& spec, const std::vector<std::int64_t>& sequence_lengths,
                        DType dtype) {
    ModelCost cost;
    CostAdder add(cost, dtype);
    const std::int64_t num_tokens = sum_of(sequence_lengths);
    const auto num_sequences = static_cast<std::int64_t>(sequence_lengths.size());
    const std::int64_t row_bytes = spec.hidden_size * bytes_of(dtype);
    cost[Part::embedding] += {.parameters = spec.vocab_size * spec.hidden_size,
                              .weight_bytes = num_tokens * row_bytes,
                              .activation_bytes = num_tokens * row_bytes};
    add_layers(spec, num_tokens, causal_pairs(sequence_lengths), add);
    add.norm(num_sequences, spec.hidden_size);
    add.linear(Part::head, num_sequences, spec.hidden_size, spec.vocab_size,
               spec.tie_word_embeddings ? 0 : 1);
    return cost;
}

ModelCost cost_of_layers(const ModelSpec& spec, const std::vector<std::int64_t>& sequence_lengths,
                         DType dtype) {
    ModelCost cost;
    CostAdder add(cost, dtype);
    add_layers(spec, sum_of(sequence_lengths), causal_pairs(sequence_lengths), add);
    return cost;
}

ModelCost cost_of_moe(const ModelSpec& spec, std::int64_t num_tokens, DType dtype) {
    if (spec.first_moe_layer() < 0)
        throw Error(Exit::usage, "scope moe needs a MoE layer among the layers that are built: " + spec.name +
                                     " has none");
    ModelCost cost;
    CostAdder add(cost, dtype);
    add_moe(spec, num_tokens, add);
    return cost;
}

std::int64_t num_parameters(const ModelSpec& spec) {
    return cost_of_model(spec, {}, DType::f32).total().parameters;
}

std::int64_t expert_flops(const ModelSpec& spec) {
    return 6 * spec.hidden_size * spec.moe_intermediate_size;
}

std::int64_t causal_pairs(const std::vector<std::int64_t>& sequence_lengths) {
    std::int64_t pairs = 0;
    for (const std::int64_t length : sequence_lengths) pairs += length * (length + 1) / 2;
    return pairs;
}

}  // namespace eps::model
