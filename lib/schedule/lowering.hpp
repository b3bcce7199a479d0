// From a segment and its counts to ops. Pure: the same tables, segment and counts give the same ops on every
// rank that asks, whichever rank the tables are for.
#pragma once

#include "cost/choose.hpp"
#include "plan/builder.hpp"
#include "routing/row_maps.hpp"
#include "schedule/tables.hpp"

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

namespace eps::schedule {

/// Lowers the segments of one rank. Keeps scratch memory, so that a warm lowering allocates nothing.
class Lowering {
  public:
    /// `tables` and `builder` outlive it.
    Lowering(const Tables& tables, plan::PlanBuilder& builder);

    /// Most entries that one segment appends to any of the plan's flat arrays.
    std::int64_t most_entries() const;

    /// Appends the segment's ops. `counts` is read for experts segments only: rows of this rank alone where
    /// rows are replicated (one source), otherwise of every rank of the block. `begun` (may be empty) is
    /// called when the first ops of an experts segment are appended whose rows travel: whoever runs them need
    /// not wait for the rest.
    using Begun = std::function<void()>;
    void lower(const plan::Segment& segment, const routing::CountsView& counts, const Begun& begun = {});

  private:
    // One file per kind of segment.
    void stage_in(const MicroBatchTables& batch);
    void embed(const MicroBatchTables& batch);
    void attention(const MicroBatchTables& batch, std::int64_t layer);
    void dense(const MicroBatchTables& batch, std::int64_t layer);
    void gate(const MicroBatchTables& batch, std::int64_t layer);
    void experts(const MicroBatchTables& batch, std::int64_t layer, const routing::CountsView& counts,
                 const Begun& begun);
    void experts_at_home(const MicroBatchTables& batch, std::int64_t layer,
                         const routing::CountsView& counts);
    void head(const MicroBatchTables& batch);
    void stage_out(const MicroBatchTables& batch);

    // Pieces that segments share (ops.cpp).
    void norm(plan::Slice in, plan::BufferId weight, plan::Slice out, double eps);
    void linear(plan::Slice in, plan::BufferId weight, plan::BufferId bias, plan::Slice out);
    void mlp(plan::Slice in, plan::BufferId gate_up, plan::BufferId down, plan::BufferId up,
             plan::BufferId act, plan::Slice out);
    void add(plan::Slice in, plan::Slice out);
    void swiglu(plan::Slice in, plan::Slice out);
    void reduce_scatter(plan::BufferId in, const std::vector<Range>& parts, plan::Slice out);
    void all_gather(plan::BufferId buffer, const std::vector<Range>& parts);
    /// hidden[batch.owned] += the tp group's sum of `in` (rows of the whole dp group), by whichever exchange
    /// the rows need.
    void add_sum_over_tp(plan::BufferId in, const MicroBatchTables& batch);
    /// The rows that this rank's second half of a layer works on, as rows of `hidden`.
    plan::Slice owned_hidden(const MicroBatchTables& batch) const { return {batch.hidden, batch.owned}; }

    // Chunks of an experts segment (experts.cpp).
    void dispatch_slots(const MicroBatchTables& batch, const routing::CountsView& counts);
    void dispatch_chunk(const MicroBatchTables& batch, std::int64_t chunk);
    void compute_chunk(std::int64_t layer, std::int64_t chunk);
    void combine_chunk(std::int64_t chunk);
    bool stays(std::int64_t block_rank) const;
    plan::Stay stay_of_dispatch(std::int64_t chunk) const;
    plan::Stay stay_of_combine(std::int64_t chunk) const;
    void choose_chunks(const routing::CountsView& counts);
    routing::Chunks chunks() const { return {tables_.block, chunk_bounds_}; }
    void expert_gemms(std::int64_t layer, Range experts, const std::int64_t* offsets);

    plan::GemmKind kind_of(std::span<const std::int64_t> offsets);

    const Tables& tables_;
    plan::PlanBuilder& builder_;
    std::optional<cost::Chooser> chooser_;  // where anything is chosen by the load
    plan::BufferId counts_buffer_ = plan::kNoBuffer;
    std::vector<plan::BufferUse> uses_;
    std::vector<std::int64_t> chunk_bounds_;  // of the experts segment being lowered
    Range chunk_bounds_numbers_;              // the same in the plan

    // Sizes of the experts segment being lowered.
    struct Sizes {
        std::vector<std::int64_t> sent_begin;     // [part][chunk], + 1: my sent rows
        std::vector<std::int64_t> slots_begin;    // [source], + 1: arrived slots
        std::vector<std::int64_t> arrived_begin;  // [chunk][source], + 1
        std::vector<std::int64_t> going_begin;    // [chunk][source], + 1: sums that go home
        std::vector<std::int64_t> came_begin;     // [chunk][block rank], + 1: sums that come home
        std::vector<std::int64_t> expert_begin;   // [local expert], + 1: expert rows
        std::int64_t num_entries = 0;             // of reduce maps
        void measure(const Tables& tables, const routing::Chunks& chunks, const routing::CountsView& counts);
    } sizes_;
};

/// What choices and predictions of a case depend on.
cost::ExpertLayer expert_layer(const Tables& tables);

/// The steps of a pass on the rank of `tables`, in order.
std::vector<plan::Step> pass(const Tables& tables);

}  // namespace eps::schedule
