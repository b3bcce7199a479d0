// Which experts a token takes, from its scores.
#pragma once

#include "kernels/kernels.hpp"

#include <cstdint>
#include <span>

namespace eps::kernels::cpu {

/// Writes top_k ids and weights, slots by descending score, ties to the lower id. With groups, scores outside
/// the kept groups count as 0 (and are overwritten so). With args.forced the ids are given and only sorted
/// and weighed. NaN loses against every number; ids stay distinct and in range.
void choose(std::span<float> scores, const GateArgs& args, std::int32_t* ids, float* weights);

}  // namespace eps::kernels::cpu
