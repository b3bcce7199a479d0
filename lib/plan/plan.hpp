// A rank's plan: lanes, buffers and ops in flat arrays; and the steps of a pass, which say when what is
// lowered.
#pragma once

#include "base/dtype.hpp"
#include "base/range.hpp"
#include "plan/op.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace eps::plan {

/// A named ordered queue of ops on one rank.
struct Lane {
    std::string name;
    bool exchange = false;  // carries exchanges: its busy time is communication
};

enum class BufferKind : std::uint8_t {
    work,    // written and read by ops
    input,   // given before the pass (token ids, positions, forced ids)
    weight,  // given before the pass, held where `residency` says
};
enum class Residency : std::uint8_t { device, host };

/// Symbolic storage. `rows` is the most any op of the plan needs.
struct Buffer {
    std::string name;
    BufferKind kind = BufferKind::work;
    Residency residency = Residency::device;
    DType dtype = DType::f32;
    std::int64_t cols = 0;
    std::int64_t rows = 0;

    std::int64_t bytes() const { return rows * cols * bytes_of(dtype); }
};

enum class Access : std::uint8_t { read, write };

struct BufferUse {
    BufferId buffer = kNoBuffer;
    Range rows;
    Access access = Access::read;
};

/// A message: rows to or from a rank of the group.
struct Transfer {
    std::int64_t peer = 0;
    Range rows;
};

struct Op {
    OpId id = 0;
    LaneId lane = 0;
    std::int32_t segment = 0;  // index into RankPlan::segments
    OpArgs args;
    Range uses;   // in RankPlan::uses
    Range after;  // in RankPlan::after: ops on other lanes that must be done first
};

enum class SegmentKind : std::uint8_t { stage_in, embed, attention, dense, gate, experts, head, stage_out };

/// What is lowered at once: of one layer and one micro-batch.
struct Segment {
    SegmentKind kind = SegmentKind::embed;
    std::int64_t layer = -1;  // -1: embed, head, stage_in, stage_out
    std::int64_t micro_batch = 0;
};

enum class StepKind : std::uint8_t { lower, await_counts };

/// One step of a pass: lower a segment and submit its ops, or wait until the counts of a layer's gate are
/// known.
struct Step {
    StepKind kind = StepKind::lower;
    Segment segment;
};

/// Appended to by the builder, never edited. In a lane ops run in the order of their ids.
struct RankPlan {
    std::vector<Lane> lanes;
    std::vector<Buffer> buffers;
    std::vector<Segment> segments;
    std::vector<Op> ops;
    std::vector<BufferUse> uses;
    std::vector<OpId> after;
    std::vector<Transfer> transfers;
    std::vector<std::int64_t> numbers;
};

/// The Swiglu right behind a product of gate and up, of the very rows that this one writes, to rows of the
/// same numbers, waiting for nothing else: an executor may do both at once. Null where there is none.
const Swiglu* activation_of(const RankPlan& plan, const Op& product);

}  // namespace eps::plan
