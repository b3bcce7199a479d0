#include "plan/builder.hpp"

#include "base/error.hpp"

#include <algorithm>
#include <optional>
#include <utility>

namespace eps::plan {

namespace {

constexpr OpId kNone = -1;

constexpr std::array<OpId, kMaxLanes> no_ops() {
    std::array<OpId, kMaxLanes> ops{};
    ops.fill(kNone);
    return ops;
}

}  // namespace

LaneId PlanBuilder::lane(std::string name, bool exchange) {
    if (std::ssize(plan_.lanes) == kMaxLanes)
        throw Error(Exit::internal, "a plan has too many lanes: raise kMaxLanes");
    plan_.lanes.push_back({std::move(name), exchange});
    seen_.push_back(no_ops());
    return static_cast<LaneId>(plan_.lanes.size() - 1);
}

BufferId PlanBuilder::buffer(Buffer buffer) {
    plan_.buffers.push_back(std::move(buffer));
    histories_.emplace_back();
    return static_cast<BufferId>(plan_.buffers.size() - 1);
}

namespace {

template <typename F>
void for_each_array(RankPlan& plan, F&& f) {
    f(plan.segments);
    f(plan.ops);
    f(plan.uses);
    f(plan.after);
    f(plan.transfers);
    f(plan.numbers);
}

}  // namespace

bool PlanBuilder::has_room(std::int64_t num_entries) const {
    const auto room = [&](const auto& v) {
        return static_cast<std::int64_t>(v.capacity() - v.size()) >= num_entries;
    };
    return room(plan_.segments) && room(plan_.ops) && room(plan_.uses) && room(plan_.after) &&
           room(plan_.transfers) && room(plan_.numbers);
}

void PlanBuilder::make_room(std::int64_t num_entries) {
    for_each_array(plan_,
                   [&](auto& v) { v.reserve(2 * v.size() + static_cast<std::size_t>(4 * num_entries)); });
}

void PlanBuilder::begin_pass() {
    for_each_array(plan_, [](auto& v) { v.clear(); });
    for (auto& history : histories_) history.clear();
    std::fill(seen_.begin(), seen_.end(), no_ops());
    serial_ = false;
}

void PlanBuilder::begin_segment(const Segment& segment) {
    plan_.segments.push_back(segment);
}

void PlanBuilder::need(PerLane& needed, OpId op) const {
    // An op that is not in the plan yet is the one being added: it reads what it writes itself.
    if (op == kNone || op == std::ssize(plan_.ops)) return;
    OpId& latest = needed[static_cast<std::size_t>(plan_.ops[static_cast<std::size_t>(op)].lane)];
    latest = std::max(latest, op);
}

void PlanBuilder::need(PerLane& needed, const PerLane& ops) const {
    for (std::size_t lane = 0; lane < ops.size(); ++lane) needed[lane] = std::max(needed[lane], ops[lane]);
}

void PlanBuilder::read(std::vector<Stretch>& history, Range rows, LaneId lane, OpId id, PerLane& needed) {
    std::int64_t covered = 0;
    for (Stretch& stretch : history) {
        if (!overlaps(stretch.rows, rows)) continue;
        covered += std::min(stretch.rows.end, rows.end) - std::max(stretch.rows.begin, rows.begin);
        need(needed, stretch.writer);
        stretch.readers[static_cast<std::size_t>(lane)] =
            id;  // for the whole stretch: one edge too many at worst
    }
    if (covered == rows.size()) return;
    // Rows that were there before the pass (the input of a layer): a later writer has to wait for this
    // reader.
    gaps_.assign(1, {rows, kNone, no_ops()});
    for (const Stretch& stretch : history) {
        for (std::size_t i = 0, n = gaps_.size(); i < n; ++i) {
            const Range gap = gaps_[i].rows;
            if (!overlaps(gap, stretch.rows)) continue;
            gaps_[i].rows.end = std::max(gap.begin, stretch.rows.begin);
            gaps_.push_back({{std::min(gap.end, stretch.rows.end), gap.end}, kNone, no_ops()});
        }
    }
    for (Stretch& gap : gaps_) {
        if (gap.rows.empty()) continue;
        gap.readers[static_cast<std::size_t>(lane)] = id;
        history.push_back(gap);
    }
}

void PlanBuilder::write(std::vector<Stretch>& history, Range rows, OpId id, PerLane& needed) {
    std::size_t kept = 0;  // stretches before it stay as they are or lose their end
    std::optional<Stretch> tail;
    for (std::size_t i = 0; i < history.size(); ++i) {
        if (!overlaps(history[i].rows, rows)) {
            if (kept != i) history[kept] = history[i];
            ++kept;
            continue;
        }
        const Stretch stretch = history[i];
        need(needed, stretch.writer);
        need(needed, stretch.readers);
        if (rows.end < stretch.rows.end)
            tail = {{rows.end, stretch.rows.end}, stretch.writer, stretch.readers};
        if (stretch.rows.begin < rows.begin)
            history[kept++] = {{stretch.rows.begin, rows.begin}, stretch.writer, stretch.readers};
    }
    history.resize(kept);
    if (tail) history.push_back(*tail);
    history.push_back({rows, id, no_ops()});
}

OpId PlanBuilder::add(LaneId lane, const OpArgs& args, std::initializer_list<BufferUse> uses) {
    return add(lane, args, std::span(uses.begin(), uses.size()));
}

OpId PlanBuilder::add(LaneId lane, const OpArgs& args, std::span<const BufferUse> uses) {
    const auto id = static_cast<OpId>(plan_.ops.size());
    const auto lane_idx = static_cast<std::size_t>(lane);
    PerLane needed = no_ops();
    if (serial_) need(needed, id - 1);

    const auto first_use = std::ssize(plan_.uses);
    for (const BufferUse& use : uses) {
        if (use.buffer == kNoBuffer) continue;
        Buffer& buffer = plan_.buffers[static_cast<std::size_t>(use.buffer)];
        plan_.uses.push_back(use);
        if (buffer.kind != BufferKind::work) continue;  // given before the pass: nobody writes it
        buffer.rows = std::max(buffer.rows, use.rows.end);
        if (use.rows.empty()) continue;
        auto& history = histories_[static_cast<std::size_t>(use.buffer)];
        if (use.access == Access::read) {
            read(history, use.rows, lane, id, needed);
        } else {
            write(history, use.rows, id, needed);
        }
    }

    const auto first_after = std::ssize(plan_.after);
    for (std::size_t other = 0; other < needed.size(); ++other) {
        if (other == lane_idx || needed[other] <= seen_[lane_idx][other]) continue;
        seen_[lane_idx][other] = needed[other];
        plan_.after.push_back(needed[other]);
    }
    plan_.ops.push_back({id,
                         lane,
                         static_cast<std::int32_t>(plan_.segments.size()) - 1,
                         args,
                         {first_use, std::ssize(plan_.uses)},
                         {first_after, std::ssize(plan_.after)}});
    return id;
}

}  // namespace eps::plan
