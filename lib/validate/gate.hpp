// The gate of a MoE layer, and how close its decisions were.
#pragma once

#include "model/spec.hpp"

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace eps::validate {

/// Expert ids that a forced routing gives: [T, top_k]; empty: the gate decides.
using ForcedIds = std::optional<std::span<const std::int32_t>>;

/// E experts, k = num_experts_per_tok. Slots of a token by descending score, ties to the lower id.
struct GateResult {
    std::vector<float> logits;      // [T, E]
    std::vector<float> scores;      // [T, E] softmax over all experts
    std::vector<std::int32_t> ids;  // [T, k]
    std::vector<float> weights;     // [T, k] what the experts' outputs are multiplied by
    std::vector<double> margins;    // [T] choice_margin of the ids
};

/// Scores, ids and weights from `logits` [T, E]. With forced ids only their weights and order are computed.
GateResult decide(const model::ModelSpec& spec, std::vector<float> logits, ForcedIds forced = {});

/// How far `ids` (of one token) are from not being the gate's choice, in relative differences of `scores`
/// [E]: the smallest (chosen - left out) / max(chosen, left out) over chosen experts and better ones left
/// out, and over kept groups and groups left out. Positive for the gate's own choice, negative for another
/// one: then its size is the relative change of two scores that would make it the choice. 1 when nothing is
/// left out; -infinity for ids that no scores could lead to (repeated, no such expert, spread over more
/// groups than allowed).
double choice_margin(const model::ModelSpec& spec, std::span<const float> scores,
                     std::span<const std::int32_t> ids);

/// Standard deviation of one token's logits: errors of logits, hence relative errors of scores, grow with it.
double spread(std::span<const float> logits);

}  // namespace eps::validate
