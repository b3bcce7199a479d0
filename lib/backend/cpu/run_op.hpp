// One op on the CPU: the visitor from OpArgs to kernels and exchanges.
#pragma once

#include "backend/cpu/weights.hpp"
#include "backend/lane_groups.hpp"
#include "comm/communicator.hpp"
#include "kernels/kernels.hpp"
#include "plan/plan.hpp"
#include "schedule/tables.hpp"

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace eps::backend::cpu {

/// Everything an op needs besides its arguments. Built once per bound case.
class OpRunner {
  public:
    OpRunner(const plan::RankPlan& plan, const schedule::Tables& tables, const Weights& weights,
             const kernels::Kernels& kernels, int threads);

    /// Where buffer `id` is kept now.
    void place(plan::BufferId id, Rows rows) { storage_[static_cast<std::size_t>(id)] = rows; }
    Rows rows_of(plan::BufferId id) const { return storage_[static_cast<std::size_t>(id)]; }

    /// Runs the op in the calling thread; `group` is the lane's (null on lanes without exchanges).
    void run(const plan::Op& op, LaneGroup* group) const;

  private:
    struct Visitor;

    const plan::RankPlan& plan_;
    const schedule::Tables& tables_;
    const Weights& weights_;
    const kernels::Kernels& kernels_;
    int threads_;
    std::vector<Rows> storage_;               // per buffer
    std::vector<std::int64_t> weight_index_;  // per buffer: index into weights_, or -1
    std::vector<std::int32_t> identity_;      // 0, 1, 2, ...: for sums of one part
    kernels::RopeTable rope_;
    kernels::AttentionArgs attention_;
    kernels::GateArgs gate_;
};

}  // namespace eps::backend::cpu
