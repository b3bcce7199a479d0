// What ops need beside their arguments, made from the model and the plan: alike in all backends.
#pragma once

#include "kernels/kernels.hpp"
#include "model/spec.hpp"
#include "plan/plan.hpp"
#include "schedule/tables.hpp"

#include <cstdint>
#include <vector>

namespace eps::backend {

/// Per buffer of the plan: its place in Tables::weight_buffers, or -1.
std::vector<std::int64_t> weight_index(const plan::RankPlan& plan, const schedule::Tables& tables);

/// The choice of a gate that is not forced.
kernels::GateArgs gate_args(const model::ModelSpec& spec);

/// Head geometry where a rank has `num_heads`.
kernels::AttentionArgs attention_args(const model::ModelSpec& spec, std::int64_t num_heads);

}  // namespace eps::backend
