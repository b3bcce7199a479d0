#include "plan/hash.hpp"

#include "base/random.hpp"
#include "plan/fields.hpp"

#include <bit>
#include <concepts>
#include <string_view>
#include <type_traits>

namespace eps::plan {

namespace {

struct Hash {
    std::uint64_t state = 0;

    void add(std::uint64_t word) { state = mix_bits(state ^ word); }
    template <typename T>
    requires std::integral<T> || std::is_enum_v<T>
    void add(T value) { add(static_cast<std::uint64_t>(static_cast<std::int64_t>(value))); }
    void add(double value) { add(std::bit_cast<std::uint64_t>(value)); }
    void add(std::string_view text) { add(stream_key(text.size(), text)); }
    void add(Range range) {
        add(range.begin);
        add(range.end);
    }

    // Fields, in their order; their names say nothing new.
    void slice(const char*, Slice slice, Access) {
        add(slice.buffer);
        add(slice.rows);
    }
    void buffer(const char*, BufferId buffer, Access) { add(buffer); }
    void rows(const char*, Range numbers, BufferId buffer, Access) {
        add(numbers);
        add(buffer);
    }
    void steps(const char*, Range numbers, BufferId buffer, Access) {
        add(numbers);
        add(buffer);
    }
    void sends(const char*, Range transfers, BufferId buffer) {
        add(transfers);
        add(buffer);
    }
    void receives(const char*, Range transfers, BufferId buffer) {
        add(transfers);
        add(buffer);
    }
    void numbers(const char*, Range numbers) { add(numbers); }
    template <typename T>
    void value(const char*, T value) {
        add(value);
    }
};

void add_declarations(const RankPlan& plan, Hash& hash) {
    hash.add(plan.lanes.size());
    for (const Lane& lane : plan.lanes) {
        hash.add(std::string_view(lane.name));
        hash.add(lane.exchange);
    }
    hash.add(plan.buffers.size());
    for (const Buffer& buffer : plan.buffers) {
        hash.add(std::string_view(buffer.name));
        hash.add(buffer.kind);
        hash.add(buffer.residency);
        hash.add(buffer.dtype);
        hash.add(buffer.cols);
        hash.add(buffer.kind == BufferKind::work ? 0 : buffer.rows);
    }
}

}  // namespace

std::uint64_t hash_of(const RankPlan& plan) {
    Hash hash;
    add_declarations(plan, hash);
    hash.add(plan.segments.size());
    for (const Segment& segment : plan.segments) {
        hash.add(segment.kind);
        hash.add(segment.layer);
        hash.add(segment.micro_batch);
    }
    hash.add(plan.ops.size());
    for (const Op& op : plan.ops) {
        hash.add(op.id);
        hash.add(op.lane);
        hash.add(op.segment);
        hash.add(op.args.index());
        for_each_field(op.args, hash);
        hash.add(op.uses);
        hash.add(op.after);
    }
    for (const BufferUse& use : plan.uses) {
        hash.add(use.buffer);
        hash.add(use.rows);
        hash.add(use.access);
    }
    for (const OpId op : plan.after) hash.add(op);
    for (const Transfer& transfer : plan.transfers) {
        hash.add(transfer.peer);
        hash.add(transfer.rows);
    }
    for (const std::int64_t number : plan.numbers) hash.add(number);
    return hash.state;
}

}  // namespace eps::plan
