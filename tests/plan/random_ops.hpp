// Random sequences of ops for tests of the builder.
#pragma once

#include "base/random.hpp"
#include "plan/builder.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace plan_tests {

struct RandomOp {
    eps::plan::LaneId lane = 0;
    bool serial = false;
    std::vector<eps::plan::BufferUse> uses;
};

struct OpSequence {
    std::int64_t num_lanes = 1;
    std::int64_t num_buffers = 1;
    std::vector<RandomOp> ops;
};

struct SequenceKind {
    std::int64_t num_rows = 12;   // of every buffer
    std::int64_t block_rows = 1;  // ranges begin and end at multiples of it
    bool one_block = false;       // every range is one block, so ranges are equal or disjoint
    bool serial_stretches = false;
};

inline OpSequence random_sequence(std::uint64_t number, const SequenceKind& kind) {
    using namespace eps::plan;
    std::uint64_t rolled = 0;
    const auto roll = [&](std::int64_t low, std::int64_t high) {  // in [low, high]
        return low + static_cast<std::int64_t>(eps::random_bits(number, rolled++) %
                                               static_cast<std::uint64_t>(high - low + 1));
    };
    OpSequence sequence{roll(1, kMaxLanes), roll(1, 3), {}};
    bool serial = false;
    const std::int64_t num_blocks = kind.num_rows / kind.block_rows;
    for (std::int64_t i = roll(1, 60); i > 0; --i) {
        if (kind.serial_stretches && roll(0, 7) == 0) serial = !serial;
        RandomOp op{static_cast<LaneId>(roll(0, sequence.num_lanes - 1)), serial, {}};
        for (std::int64_t n = roll(0, 3); n > 0; --n) {
            const std::int64_t begin = roll(0, num_blocks - 1);
            const std::int64_t end = kind.one_block ? begin + 1 : roll(begin, num_blocks);  // may be empty
            op.uses.push_back({static_cast<BufferId>(roll(0, sequence.num_buffers - 1)),
                               {begin * kind.block_rows, end * kind.block_rows},
                               roll(0, 1) == 0 ? Access::read : Access::write});
        }
        sequence.ops.push_back(op);
    }
    return sequence;
}

inline void declare(const OpSequence& sequence, eps::plan::PlanBuilder& builder) {
    for (std::int64_t i = 0; i < sequence.num_lanes; ++i) builder.lane("lane" + std::to_string(i), false);
    for (std::int64_t i = 0; i < sequence.num_buffers; ++i)
        builder.buffer({.name = "buffer" + std::to_string(i), .cols = 1});
}

inline void add_all(const OpSequence& sequence, eps::plan::PlanBuilder& builder) {
    builder.begin_segment({});
    for (const RandomOp& op : sequence.ops) {
        builder.set_serial(op.serial);
        builder.add(op.lane, eps::plan::Clear{}, op.uses);
    }
    builder.set_serial(false);
}

}  // namespace plan_tests
