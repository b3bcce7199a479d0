// What a pass costs in closed form: parameters, FLOPs and least bytes moved, for each part of the model.
// Linear maps count 2 * in * out FLOPs a row, attention its causal half exactly; norms, rope, softmax, SwiGLU
// and sums are not counted as FLOPs. Bytes are those a machine with one perfect cache per op would move:
// every weight of the part once, every op's input and output rows once.
#pragma once

#include "base/dtype.hpp"
#include "model/catalog.hpp"
#include "model/spec.hpp"

#include <array>
#include <cstdint>
#include <vector>

namespace eps::model {

struct PartCost {
    std::int64_t parameters = 0;  // stored values; a tied head stores none
    std::int64_t flops = 0;       // of the pass
    std::int64_t weight_bytes =
        0;  // read in the pass: of the embedding one row a token, of few tokens only their experts
    std::int64_t activation_bytes = 0;  // read and written in the pass

    PartCost& operator+=(const PartCost& other);
};

struct ModelCost {
    std::array<PartCost, kNumParts> parts;
    std::int64_t attention_pair_flops =
        0;  // of parts[attention].flops: scores and weighted sums, not projections

    PartCost& operator[](Part part) { return parts[static_cast<std::size_t>(part)]; }
    const PartCost& operator[](Part part) const { return parts[static_cast<std::size_t>(part)]; }
    PartCost total() const;
};

/// Costs of one pass over the whole batch, weights and activations in `dtype`. `sequence_lengths` holds one
/// length a sequence. Embedding, the first num_layers layers, final norm, head on the last position of every
/// sequence.
ModelCost cost_of_model(const ModelSpec& spec, const std::vector<std::int64_t>& sequence_lengths,
                        DType dtype);
/// The decoder layers alone.
ModelCost cost_of_layers(const ModelSpec& spec, const std::vector<std::int64_t>& sequence_lengths,
                         DType dtype);
/// From the post-attention norm to the end of one MoE layer. Throws Error(usage) when no built layer is MoE.
ModelCost cost_of_moe(const ModelSpec& spec, std::int64_t num_tokens, DType dtype);

/// Stored values of the built model; equals the sum over the Catalog.
std::int64_t num_parameters(const ModelSpec& spec);

/// FLOPs of one routed expert for one (token, slot): three maps between hidden and moe_intermediate.
std::int64_t expert_flops(const ModelSpec& spec);

/// (query, key) pairs with key <= query, over all sequences.
std::int64_t causal_pairs(const std::vector<std::int64_t>& sequence_lengths);

}  // namespace eps::model
