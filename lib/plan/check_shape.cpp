// R1: what every other rule relies on.
#include "base/error.hpp"
#include "plan/check.hpp"
#include "plan/fields.hpp"

#include <algorithm>

#include <fmt/format.h>

namespace eps::plan {

namespace {

bool inside(Range range, std::int64_t size) {
    return 0 <= range.begin && range.begin <= range.end && range.end <= size;
}

/// Calls `offend(text)` for a field whose indices lie outside of what they name.
template <typename Offend>
class FieldShape : public IgnoredFields {
  public:
    FieldShape(const RankPlan& plan, std::int64_t num_peers, const Offend& offend)
        : plan_(plan), num_peers_(num_peers), offend_(offend) {}

    void slice(const char* name, Slice slice, Access) const {
        buffer(name, slice.buffer, Access::read);
        if (slice.buffer == kNoBuffer) return;
        const std::int64_t rows = plan_.buffers[at(slice.buffer)].rows;
        if (!inside(slice.rows, rows))
            offend_(fmt::format("{} names rows {}:{} of {}", name, slice.rows.begin, slice.rows.end, rows));
    }
    void buffer(const char* name, BufferId buffer, Access) const {
        if (buffer != kNoBuffer && !Range{0, std::ssize(plan_.buffers)}.contains(buffer))
            offend_(fmt::format("{} is buffer {} of {}", name, buffer, plan_.buffers.size()));
    }
    void rows(const char* name, Range numbers_of_rows, BufferId id, Access access) const {
        needs_buffer(name, id);
        numbers(name, numbers_of_rows);
        if (numbers_of_rows.size() % 2 != 0) offend_(fmt::format("{} has a begin without an end", name));
        for (std::int64_t i = numbers_of_rows.begin; i < numbers_of_rows.end; i += 2)
            slice(name, {id, {plan_.numbers[at(i)], plan_.numbers[at(i + 1)]}}, access);
    }
    void steps(const char* name, Range numbers_of_rows, BufferId id, Access access) const {
        needs_buffer(name, id);
        numbers(name, numbers_of_rows);
        for (std::int64_t i = numbers_of_rows.begin; i + 1 < numbers_of_rows.end; ++i)
            slice(name, {id, {plan_.numbers[at(i)], plan_.numbers[at(i + 1)]}}, access);
    }
    void sends(const char* name, Range transfers, BufferId id) const {
        needs_buffer(name, id);
        if (!inside(transfers, std::ssize(plan_.transfers)))
            offend_(fmt::format("{} lies outside of the plan's transfers", name));
        std::vector<std::int64_t> peers;
        for (std::int64_t i = transfers.begin; i < transfers.end; ++i) {
            const Transfer& transfer = plan_.transfers[at(i)];
            if (!Range{0, num_peers_}.contains(transfer.peer))
                offend_(fmt::format("{} has peer {} of {}", name, transfer.peer, num_peers_));
            if (std::ranges::count(peers, transfer.peer) > 0)
                offend_(fmt::format("{} has peer {} twice", name, transfer.peer));
            peers.push_back(transfer.peer);
            slice(name, {id, transfer.rows}, Access::read);
        }
    }
    void receives(const char* name, Range transfers, BufferId id) const { sends(name, transfers, id); }
    void numbers(const char* name, Range numbers) const {
        if (!inside(numbers, std::ssize(plan_.numbers)))
            offend_(fmt::format("{} lies outside of the plan's numbers", name));
    }

  private:
    void needs_buffer(const char* name, BufferId id) const {
        if (id == kNoBuffer) offend_(fmt::format("{} names no buffer", name));
    }

    const RankPlan& plan_;
    std::int64_t num_peers_;
    const Offend& offend_;
};

void check_op(const PassUnderCheck& pass, std::int64_t rank, std::int64_t index) {
    const RankPlan& plan = *pass.ranks[at(rank)].plan;
    const Op& op = plan.ops[at(index)];
    const auto refuse = [&](const std::string& what) {
        throw Error(Exit::internal, fmt::format("R1: rank {}, {}", rank, what));
    };
    // What its name is made of comes first.
    if (op.id != index) refuse(fmt::format("op {} stands at place {}", op.id, index));
    if (!Range{0, std::ssize(plan.lanes)}.contains(op.lane))
        refuse(fmt::format("op {} is on lane {} of {}", op.id, op.lane, plan.lanes.size()));
    if (!Range{0, std::ssize(plan.segments)}.contains(op.segment))
        refuse(fmt::format("op {} is in segment {} of {}", op.id, op.segment, plan.segments.size()));
    const auto offend = [&](const std::string& what) {
        throw Error(Exit::internal, fmt::format("R1: {}: {}", name_op(pass, rank, op), what));
    };
    if (!inside(op.after, std::ssize(plan.after))) offend("its edges lie outside of the plan's");
    for (std::int64_t i = op.after.begin; i < op.after.end; ++i) {
        const OpId earlier = plan.after[at(i)];
        if (!Range{0, op.id}.contains(earlier)) offend(fmt::format("waits for op {}", earlier));
        if (plan.ops[at(earlier)].lane == op.lane)
            offend(fmt::format("waits for op {} on its own lane", earlier));
    }
    if (!inside(op.uses, std::ssize(plan.uses))) offend("its uses lie outside of the plan's");
    const std::vector<std::int64_t> members = members_of(pass, {rank, &op});
    for (const std::int64_t member : members)
        if (!Range{0, pass.placement.world()}.contains(member)) offend(fmt::format("has peer {}", member));
    const FieldShape shape(plan, std::ssize(members), offend);
    for (std::int64_t i = op.uses.begin; i < op.uses.end; ++i) {
        const BufferUse& use = plan.uses[at(i)];
        if (use.buffer == kNoBuffer) offend("uses no buffer");
        shape.slice("a use", {use.buffer, use.rows}, use.access);
    }
    if (const auto* gemm = std::get_if<ExpertGemm>(&op.args))
        if (gemm->offsets.size() != gemm->experts.size() + 1)
            offend(fmt::format("has {} offsets for {} experts", gemm->offsets.size(), gemm->experts.size()));
    for_each_field(op.args, shape);
}

}  // namespace

std::int64_t check_shape(const PassUnderCheck& pass) {
    if (std::ssize(pass.ranks) != pass.placement.world())
        throw Error(Exit::internal,
                    fmt::format("R1: {} plans for {} ranks", pass.ranks.size(), pass.placement.world()));
    std::int64_t num_ops = 0;
    for (std::int64_t rank = 0; rank < pass.placement.world(); ++rank) {
        const auto size = std::ssize(pass.ranks[at(rank)].plan->ops);
        for (std::int64_t i = 0; i < size; ++i) check_op(pass, rank, i);
        num_ops += size;
    }
    return num_ops;
}

}  // namespace eps::plan
