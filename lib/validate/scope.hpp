// What part of the model a checked pass computed, and which kind of check it gets.
#pragma once

#include "model/spec.hpp"

#include <cstdint>
#include <vector>

namespace eps::validate {

enum class Scope : std::uint8_t {
    model,  // embedding, decoder layers, head
    layer,  // decoder layers
    moe,    // the MLP half of the first MoE layer
};

/// Layers of a pass, in order.
std::vector<std::int64_t> layers_of(const model::ModelSpec& spec, Scope scope);

/// FLOPs of one pass over sequences of these lengths, hence of the reference pass.
double pass_flops(const model::ModelSpec& spec, Scope scope,
                  const std::vector<std::int64_t>& sequence_lengths);

enum class Kind : std::uint8_t { reference, spot };

/// The reference pass takes a few seconds for this much.
constexpr double kMaxReferenceFlops = 10e9;

/// What `auto` means: the whole reference pass while it is small enough.
Kind choose_kind(const model::ModelSpec& spec, Scope scope,
                 const std::vector<std::int64_t>& sequence_lengths);

}  // namespace eps::validate
