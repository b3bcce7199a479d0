// A case on one rank: its tables, its plan and the loop over the steps of a pass.
#pragma once

#include "backend/executor.hpp"
#include "plan/builder.hpp"
#include "schedule/lowering.hpp"
#include "schedule/tables.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

namespace eps::backend {

/// Counts that one gate produced, as its experts segment was lowered from them.
struct GateCounts {
    std::int64_t layer = 0;
    std::int64_t micro_batch = 0;
    std::vector<std::int32_t> counts;  // [sources, experts, fields]
};

class PassRunner {
  public:
    PassRunner(const schedule::PassSetup& setup, std::int64_t rank);
    PassRunner(const PassRunner&) = delete;
    PassRunner& operator=(const PassRunner&) = delete;

    /// Runs one pass: from the first op to the last one done on this rank. Inputs are written beforehand.
    /// `observe` (may be empty) is called after each lowered segment, when all its ops are done: for
    /// validation, not for timing.
    using Observer = std::function<void(const plan::Segment&)>;
    void run(Executor& executor, bool traced, const Observer& observe = {});

    /// Lowers a whole pass without running it, from counts given per MoE layer and micro-batch.
    using CountsOf = std::function<routing::CountsView(std::int64_t layer, std::int64_t micro_batch)>;
    void lower_pass(const CountsOf& counts_of);

    /// From now on lowers from these counts instead of waiting for the gate's (schedule.oracle).
    void know_counts(Executor& executor, const std::vector<GateCounts>& counts);

    /// Counts of the last pass that was not lowered ahead of its gates.
    const std::vector<GateCounts>& counts() const { return counts_; }

    const schedule::Tables& tables() const { return tables_; }
    const plan::RankPlan& plan() const { return builder_.plan(); }
    const std::vector<plan::Step>& steps() const { return steps_; }

  private:
    void await_counts(Executor& executor, const plan::Segment& segment);
    GateCounts& counts_of(const plan::Segment& segment);

    plan::PlanBuilder builder_;
    schedule::Tables tables_;
    schedule::Lowering lowering_;
    std::vector<plan::Step> steps_;
    std::vector<GateCounts> counts_;
};

}  // namespace eps::backend
