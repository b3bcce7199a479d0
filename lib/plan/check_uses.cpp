// R2 and R3: what ops read and write, and in which order.
#include "base/error.hpp"
#include "plan/check.hpp"
#include "plan/fields.hpp"
#include "plan/row_set.hpp"

#include <algorithm>

#include <fmt/format.h>

namespace eps::plan {

namespace {

const char* verb(Access access) {
    return access == Access::read ? "reads" : "writes";
}

std::span<const BufferUse> uses_of(const RankPlan& plan, const Op& op) {
    return std::span(plan.uses).subspan(at(op.uses.begin), at(op.uses.size()));
}

/// Calls `missing(access, buffer, rows)` for rows that the op's arguments name and its uses do not.
template <typename Missing>
class DeclaredFields : public IgnoredFields {
  public:
    DeclaredFields(const RankPlan& plan, const Op& op, const Missing& missing)
        : plan_(plan), uses_(uses_of(plan, op)), missing_(missing) {}

    void slice(const char*, Slice slice, Access access) const {
        if (slice.buffer == kNoBuffer) return;
        RowSet declared;
        for (const BufferUse& use : uses_)
            if (use.buffer == slice.buffer && use.access == access) declared.add(use.rows);
        if (!declared.holds(slice.rows)) missing_(access, slice.buffer, slice.rows);
    }
    void buffer(const char*, BufferId buffer, Access access) const {
        const auto named = [&](const BufferUse& use) { return use.buffer == buffer && use.access == access; };
        if (buffer != kNoBuffer && std::ranges::none_of(uses_, named)) missing_(access, buffer, Range{});
    }
    void rows(const char* name, Range numbers, BufferId buffer, Access access) const {
        for (std::int64_t i = numbers.begin; i < numbers.end; i += 2)
            slice(name, {buffer, {plan_.numbers[at(i)], plan_.numbers[at(i + 1)]}}, access);
    }
    void steps(const char* name, Range numbers, BufferId buffer, Access access) const {
        slice(name, {buffer, {plan_.numbers[at(numbers.begin)], plan_.numbers[at(numbers.end - 1)]}}, access);
    }
    void sends(const char* name, Range transfers, BufferId buffer) const {
        all_of(name, transfers, buffer, Access::read);
    }
    void receives(const char* name, Range transfers, BufferId buffer) const {
        all_of(name, transfers, buffer, Access::write);
    }

  private:
    void all_of(const char* name, Range transfers, BufferId buffer, Access access) const {
        for (std::int64_t i = transfers.begin; i < transfers.end; ++i)
            slice(name, {buffer, plan_.transfers[at(i)].rows}, access);
    }

    const RankPlan& plan_;
    std::span<const BufferUse> uses_;
    const Missing& missing_;
};

/// For each op and lane, the latest op of that lane that is done before the op starts (-1: none); in its own
/// lane the op itself.
class Reachable {
  public:
    explicit Reachable(const RankPlan& plan) : num_lanes_(plan.lanes.size()) {
        latest_.assign(plan.ops.size() * num_lanes_, -1);
        std::vector<OpId> last_of_lane(num_lanes_, -1);
        for (const Op& op : plan.ops) {
            OpId& before = last_of_lane[at(op.lane)];
            if (before >= 0) take(op.id, before);
            for (std::int64_t i = op.after.begin; i < op.after.end; ++i) take(op.id, plan.after[at(i)]);
            latest_[at(op.id) * num_lanes_ + at(op.lane)] = op.id;
            before = op.id;
        }
    }

    bool done_before(const Op& earlier, const Op& op) const {
        return latest_[at(op.id) * num_lanes_ + at(earlier.lane)] >= earlier.id;
    }

  private:
    void take(OpId op, OpId earlier) {
        for (std::size_t lane = 0; lane < num_lanes_; ++lane) {
            OpId& latest = latest_[at(op) * num_lanes_ + lane];
            latest = std::max(latest, latest_[at(earlier) * num_lanes_ + lane]);
        }
    }

    std::size_t num_lanes_;
    std::vector<OpId> latest_;  // [op][lane]
};

/// An access to a buffer that later ones must be ordered with.
struct Live {
    Range rows;
    Access access = Access::read;
    const Op* op = nullptr;
};

bool covers(Range outer, Range inner) {
    return outer.begin <= inner.begin && inner.end <= outer.end;
}

class OrderOfRank {
  public:
    OrderOfRank(const PassUnderCheck& pass, std::int64_t rank)
        : pass_(pass), rank_(rank), plan_(*pass.ranks[at(rank)].plan), reachable_(plan_) {
        live_.resize(plan_.buffers.size());
    }

    std::int64_t check() {
        std::int64_t num_accesses = 0;
        for (const Op& op : plan_.ops) {
            for (const BufferUse& use : uses_of(plan_, op)) {
                if (plan_.buffers[at(use.buffer)].kind != BufferKind::work || use.rows.empty()) continue;
                ++num_accesses;
                for (const Live& live : live_[at(use.buffer)]) compare(op, use, live);
            }
            for (const BufferUse& use : uses_of(plan_, op)) keep(op, use);
        }
        return num_accesses;
    }

  private:
    void compare(const Op& op, const BufferUse& use, const Live& live) const {
        if (live.op->id == op.id || !overlaps(live.rows, use.rows)) return;
        if (use.access == Access::read && live.access == Access::read) return;
        if (reachable_.done_before(*live.op, op)) return;
        throw Error(
            Exit::internal,
            fmt::format("R3: {}: {} rows {}:{} of {}, which {} {} (rows {}:{}), and nothing orders the two",
                        name_op(pass_, rank_, op), verb(use.access), use.rows.begin, use.rows.end,
                        plan_.buffers[at(use.buffer)].name, name_op(pass_, rank_, *live.op),
                        verb(live.access), live.rows.begin, live.rows.end));
    }

    // An access that is covered by a later one, ordered after it, is forgotten: whoever is ordered with the
    // later is ordered with both.
    void keep(const Op& op, const BufferUse& use) {
        if (plan_.buffers[at(use.buffer)].kind != BufferKind::work || use.rows.empty()) return;
        std::vector<Live>& live = live_[at(use.buffer)];
        std::erase_if(live, [&](const Live& earlier) {
            if (earlier.op->id == op.id || !covers(use.rows, earlier.rows)) return false;
            return use.access == Access::write ||
                   (earlier.access == Access::read && earlier.op->lane == op.lane);
        });
        live.push_back({use.rows, use.access, &op});
    }

    const PassUnderCheck& pass_;
    std::int64_t rank_;
    const RankPlan& plan_;
    Reachable reachable_;
    std::vector<std::vector<Live>> live_;  // per buffer
};

}  // namespace

std::int64_t check_writers(const PassUnderCheck& pass) {
    std::int64_t num_reads = 0;
    for (std::int64_t rank = 0; rank < std::ssize(pass.ranks); ++rank) {
        const RankPlan& plan = *pass.ranks[at(rank)].plan;
        std::vector<RowSet> written(plan.buffers.size());
        for (const Slice& slice : pass.ranks[at(rank)].given) written[at(slice.buffer)].add(slice.rows);
        for (const Op& op : plan.ops) {
            const auto refuse = [&](Access access, BufferId buffer, Range rows, const char* problem) {
                throw Error(Exit::internal, fmt::format("R2: {}: {} rows {}:{} of {}, {}",
                                                        name_op(pass, rank, op), verb(access), rows.begin,
                                                        rows.end, plan.buffers[at(buffer)].name, problem));
            };
            const auto missing = [&](Access access, BufferId buffer, Range rows) {
                refuse(access, buffer, rows, "which it does not declare");
            };
            for_each_field(op.args, DeclaredFields(plan, op, missing));
            for (const BufferUse& use : uses_of(plan, op)) {
                if (use.access == Access::write) continue;
                ++num_reads;
                if (plan.buffers[at(use.buffer)].kind == BufferKind::work &&
                    !written[at(use.buffer)].holds(use.rows))
                    refuse(use.access, use.buffer, use.rows, "which no op before it has written");
            }
            for (const BufferUse& use : uses_of(plan, op))
                if (use.access == Access::write) written[at(use.buffer)].add(use.rows);
        }
    }
    return num_reads;
}

std::int64_t check_order(const PassUnderCheck& pass) {
    std::int64_t num_accesses = 0;
    for (std::int64_t rank = 0; rank < std::ssize(pass.ranks); ++rank)
        num_accesses += OrderOfRank(pass, rank).check();
    return num_accesses;
}

}  // namespace eps::plan
