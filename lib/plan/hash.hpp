// A number that tells plans apart: what a rank ran against what another rank lowered for it.
#pragma once

#include "plan/plan.hpp"

#include <cstdint>

namespace eps::plan {

/// Of everything that decides what is run: lanes, buffers, segments, ops, uses, edges, transfers, numbers.
/// Not of capacities: the rows of work buffers grow from pass to pass.
std::uint64_t hash_of(const RankPlan& plan);

}  // namespace eps::plan
