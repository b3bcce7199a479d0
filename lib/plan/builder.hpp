// Builds a rank's plan op by op and derives the edges: an op waits for the last writer of what it reads, and
// for the last writer and readers of what it writes, across segments too. Edges inside a lane are implicit;
// of several edges to one lane only the latest is kept, and none that an earlier op of the own lane has
// already waited for.
#pragma once

#include "plan/plan.hpp"

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <vector>

namespace eps::plan {

constexpr std::int64_t kMaxLanes = 6;

class PlanBuilder {
  public:
    LaneId lane(std::string name, bool exchange);
    BufferId buffer(Buffer buffer);

    /// The flat arrays never move while they have room for what is appended: who runs ops while more are
    /// added asks first.
    bool has_room(std::int64_t num_entries) const;
    void make_room(std::int64_t num_entries);

    /// Forgets all ops and hazards, keeps lanes, buffers and memory: a new pass begins.
    void begin_pass();
    /// Ops added from now on belong to this segment.
    void begin_segment(const Segment& segment);

    /// In a serial stretch every op waits for the one added before it, whatever its lane.
    void set_serial(bool serial) { serial_ = serial; }

    OpId add(LaneId lane, const OpArgs& args, std::initializer_list<BufferUse> uses);
    OpId add(LaneId lane, const OpArgs& args, std::span<const BufferUse> uses);

    /// Appends to the plan's flat arrays; the part so far is [begin, mark()).
    std::int64_t mark_numbers() const { return static_cast<std::int64_t>(plan_.numbers.size()); }
    void number(std::int64_t value) { plan_.numbers.push_back(value); }
    std::int64_t mark_transfers() const { return static_cast<std::int64_t>(plan_.transfers.size()); }
    void transfer(std::int64_t peer, Range rows) { plan_.transfers.push_back({peer, rows}); }

    const RankPlan& plan() const { return plan_; }

  private:
    using PerLane = std::array<OpId, kMaxLanes>;  // -1: none

    // Rows of one buffer with the same history: who wrote them last, and who has read them since on each
    // lane.
    struct Stretch {
        Range rows;
        OpId writer;
        PerLane readers;
    };

    void need(PerLane& needed, OpId op) const;
    void need(PerLane& needed, const PerLane& ops) const;
    void read(std::vector<Stretch>& history, Range rows, LaneId lane, OpId id, PerLane& needed);
    void write(std::vector<Stretch>& history, Range rows, OpId id, PerLane& needed);

    RankPlan plan_;
    std::vector<std::vector<Stretch>> histories_;  // per buffer, disjoint
    std::vector<Stretch> gaps_;                    // scratch
    std::vector<PerLane> seen_;  // per lane: the latest op of every other lane it has waited for
    bool serial_ = false;
};

/// Shorthand for uses.
inline BufferUse reads(Slice slice) {
    return {slice.buffer, slice.rows, Access::read};
}
inline BufferUse writes(Slice slice) {
    return {slice.buffer, slice.rows, Access::write};
}

}  // namespace eps::plan
