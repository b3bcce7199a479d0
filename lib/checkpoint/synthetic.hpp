// Weights out of nothing: every value a pure function of (seed, tensor name, position in the tensor).
#pragma once

#include "checkpoint/weight_source.hpp"
#include "model/spec.hpp"

#include <cstdint>
#include <memory>

namespace eps::checkpoint {

/// About normal values, the same for any placement, any split of a tensor and any machine; f32, rounded when
/// bf16 is asked for. Hidden rows stay of order 1 through all layers, routed and shared experts contribute
/// alike, and the gate's choices differ from token to token. They depend on num_hidden_layers, not on
/// num_layers: the first layers of a model are those of the whole.
std::unique_ptr<WeightSource> synthetic_weights(const model::ModelSpec& spec, std::uint64_t seed);

}  // namespace eps::checkpoint
