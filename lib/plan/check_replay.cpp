// The pass as lanes, edges and exchanges let it happen, without doing any of its work.
#include "base/error.hpp"
#include "plan/check.hpp"

#include <algorithm>

#include <fmt/format.h>

namespace eps::plan {

namespace {

class Replay {
  public:
    using Visit = std::function<void(std::span<const RankOp>)>;

    Replay(const PassUnderCheck& pass, const Visit& visit) : pass_(pass), visit_(visit) {
        for (const RankUnderCheck& rank : pass.ranks) {
            State& state = states_.emplace_back();
            state.done.assign(rank.plan->ops.size(), false);
            state.lanes.resize(rank.plan->lanes.size());
            for (const Op& op : rank.plan->ops) state.lanes[at(op.lane)].ops.push_back(&op);
        }
    }

    void run() {
        for (bool moved = true; moved;) {
            moved = false;
            for (std::int64_t rank = 0; rank < std::ssize(states_); ++rank)
                for (Lane& lane : states_[at(rank)].lanes)
                    while (lane.head() != nullptr && step(rank, *lane.head())) moved = true;
        }
        for (std::int64_t rank = 0; rank < std::ssize(states_); ++rank)
            for (const Lane& lane : states_[at(rank)].lanes)
                if (lane.head() != nullptr)
                    throw Error(Exit::internal,
                                fmt::format("R4: {}: waits for ever, as {} lanes do",
                                            name_op(pass_, rank, *lane.head()), num_waiting()));
    }

  private:
    struct Lane {
        std::vector<const Op*> ops;
        std::size_t next = 0;
        const Op* head() const { return next < ops.size() ? ops[next] : nullptr; }
    };
    struct State {
        std::vector<Lane> lanes;
        std::vector<bool> done;
    };

    bool ready(std::int64_t rank, const Op& op) const {
        const State& state = states_[at(rank)];
        const RankPlan& plan = *pass_.ranks[at(rank)].plan;
        for (std::int64_t i = op.after.begin; i < op.after.end; ++i)
            if (!state.done[at(plan.after[at(i)])]) return false;
        return true;
    }

    // Visits the op, with its peers' ops, unless somebody is not there yet.
    bool step(std::int64_t rank, const Op& op) {
        if (!ready(rank, op)) return false;
        together_.clear();
        const std::vector<std::int64_t> members = members_of(pass_, {rank, &op});
        if (members.empty()) together_.push_back({rank, &op});
        for (const std::int64_t member : members) {
            const Op* of_member = member == rank ? &op : counterpart(rank, op, member);
            if (of_member == nullptr) return false;
            together_.push_back({member, of_member});
        }
        visit_(together_);
        for (const RankOp& done : together_) {
            State& state = states_[at(done.rank)];
            state.done[at(done.op->id)] = true;
            ++state.lanes[at(done.op->lane)].next;
        }
        return true;
    }

    // The op of `member` that exchanges with this one, if it is the next of its lane and may start.
    const Op* counterpart(std::int64_t rank, const Op& op, std::int64_t member) const {
        const RankPlan& plan = *pass_.ranks[at(member)].plan;
        const std::string& lane_name = pass_.ranks[at(rank)].plan->lanes[at(op.lane)].name;
        for (std::size_t lane = 0; lane < plan.lanes.size(); ++lane) {
            const Op* head = states_[at(member)].lanes[lane].head();
            if (head == nullptr || !ready(member, *head)) continue;
            const auto* send = std::get_if<Send>(&head->args);
            const auto* receive = std::get_if<Receive>(&head->args);
            const bool meets =
                std::holds_alternative<Send>(op.args) ? receive != nullptr && receive->peer == rank
                : std::holds_alternative<Receive>(op.args)
                    ? send != nullptr && send->peer == rank
                    : head->args.index() == op.args.index() && plan.lanes[lane].name == lane_name;
            if (meets) return head;
        }
        return nullptr;
    }

    std::int64_t num_waiting() const {
        std::int64_t count = 0;
        for (const State& state : states_)
            count +=
                std::ranges::count_if(state.lanes, [](const Lane& lane) { return lane.head() != nullptr; });
        return count;
    }

    const PassUnderCheck& pass_;
    const Visit& visit_;
    std::vector<State> states_;
    std::vector<RankOp> together_;
};

}  // namespace

void replay(const PassUnderCheck& pass, const std::function<void(std::span<const RankOp>)>& visit) {
    Replay(pass, visit).run();
}

}  // namespace eps::plan
