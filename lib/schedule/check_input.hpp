// What plan/check wants to know of a case: from its tables and from what its gates chose.
#pragma once

#include "plan/check.hpp"
#include "schedule/tables.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace eps::schedule {

/// One rank's tables and the plan that was lowered from them; both outlive the check.
struct LoweredRank {
    const Tables* tables = nullptr;
    const plan::RankPlan* plan = nullptr;
};

/// The pass of all ranks of the world, without limits and with the gates' choices still to be added.
plan::PassUnderCheck pass_under_check(std::span<const LoweredRank> ranks);

/// What a MoE layer's gate chose for a micro-batch. `ids` [tokens of the batch, top_k], in batch order.
plan::GateChoices gate_choices(const PassSetup& setup, std::int64_t layer, std::int64_t micro_batch,
                               std::span<const std::int32_t> ids);

/// The counts from which the experts segment of `tables`' rank is lowered: [sources, experts, fields], as its
/// ops bring them.
std::vector<std::int32_t> counts_of(const Tables& tables, const plan::GateChoices& choices);
routing::CountsView view_of(const Tables& tables, const std::vector<std::int32_t>& counts);

}  // namespace eps::schedule
