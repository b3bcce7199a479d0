// One op on the GPU: the visitor from OpArgs to kernels and exchanges, which enqueues on the op's stream.
#pragma once

#include "backend/cuda/scratch.hpp"
#include "backend/cuda/weights.hpp"
#include "backend/lane_groups.hpp"
#include "comm/cuda/device_exchange.hpp"
#include "plan/plan.hpp"
#include "schedule/tables.hpp"

#include <cstdint>
#include <optional>
#include <vector>

namespace eps::backend::cuda {

/// A lane of a bound case: where its ops go. Peers of ops are numbered as the plan numbers them.
struct LanePlace {
    cudaStream_t stream = nullptr;
    comm::cuda::DeviceExchange* exchange = nullptr;  // null: the lane has none
    PeerNumbers peers{};
};

/// Everything an op needs besides its arguments. Built once per bound case; all of it outlives it.
class OpRunner {
  public:
    OpRunner(const plan::RankPlan& plan, const schedule::Tables& tables, const Weights& weights,
             Scratch& scratch);

    /// Where buffer `id` is kept.
    void place(plan::BufferId id, Rows rows) { storage_[static_cast<std::size_t>(id)] = rows; }
    Rows rows_of(plan::BufferId id) const { return storage_[static_cast<std::size_t>(id)]; }

    /// The next calls of run() are for these ops, in their order. Products whose lists travel together are
    /// on one lane.
    void announce(Range ops);

    /// Sends what an op reads that is new in every pass: before run(), of which it is no part where that is
    /// recorded.
    void prepare(const plan::Op& op, const LanePlace& lane);

    void run(const plan::Op& op, const LanePlace& lane);

  private:
    struct Visitor;
    void send_lists(const LanePlace& lane);

    const plan::RankPlan& plan_;
    const schedule::Tables& tables_;
    const Weights& weights_;
    Scratch& scratch_;
    std::vector<Rows> storage_;               // per buffer
    std::vector<std::int64_t> weight_index_;  // per buffer: index into weights_, or -1
    kernels::GateArgs gate_;
    std::int64_t most_tokens_;
    // Lists of the op being enqueued; kept, so that nothing is allocated once warm.
    std::vector<comm::Message> sends_, receives_;
    std::vector<kernels::device::ExpertShare> experts_;
    std::vector<std::int64_t> bounds_;
    std::vector<Rows> parts_;
    // Of the announced ops: what of products runs from lists, which are sent before the first of them.
    Range announced_;
    std::vector<std::optional<kernels::device::Gemms::Listed>> listed_;  // of each; empty: not sent yet
    Range sent_numbers_;  // the chunks' bounds, which both maps of a layer read, on one lane
};

}  // namespace eps::backend::cuda
