#include "backend/sim/simulate.hpp"

#include "backend/sim/meetings.hpp"
#include "backend/sim/wires.hpp"
#include "base/error.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <queue>

#include <fmt/format.h>

namespace eps::backend::sim {

namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();
constexpr double kNoTime = 1e-12;  // seconds

std::int64_t nanoseconds(double seconds) {
    constexpr double kMost_s = 9e9;  // what 64 bits hold
    if (!(seconds < kMost_s))
        throw Error(Exit::usage,
                    fmt::format("simulation: a pass of more than {:g} s cannot be told: check the "
                                "times of the calibration and of the link",
                                kMost_s));
    return std::llround(seconds * 1e9);
}

enum class Phase : std::uint8_t {
    idle,      // the next op may not start yet
    starting,  // it starts at `until_s`
    meeting,   // waits for peers
    working,   // `work_s` left
    waiting,   // for the wire, until `until_s`
};

struct Lane {
    std::vector<const plan::Op*> ops;
    std::size_t next = 0;
    bool exchange = false;
    Phase phase = Phase::idle;
    double free_s = 0;   // when the previous op ended
    double begin_s = 0;  // of the op under way
    double until_s = 0;
    double work_s = 0;  // left, at full speed
    double rate = 1;
    double slowdown = 1;  // beside the compute lane
    double sums_s = 0;    // work after the exchange: the sums of a reduce-scatter
    Meeting* meeting = nullptr;

    const plan::Op* head() const { return next < ops.size() ? ops[next] : nullptr; }
};

struct Rank {
    std::vector<Lane> lanes;
    std::vector<double> done_s;       // per op; kNever: not yet
    std::vector<plan::OpId> wait_of;  // per segment: the op that its lowering waited for, -1: none
    double now_s = 0;                 // to which its lanes have got
    std::int64_t version = 0;         // of its next event
};

struct Event {
    double at_s;
    std::int64_t rank;
    std::int64_t version;
    bool operator>(const Event& other) const {
        return std::tie(at_s, rank, version) > std::tie(other.at_s, other.rank, other.version);
    }
};

/// Per segment the op whose counts were awaited before it was lowered: the last exchange of counts, or where
/// rows stay the last routing, before the latest experts segment up to it.
std::vector<plan::OpId> waits_of(const plan::RankPlan& plan, bool counts_known) {
    std::vector<plan::OpId> waits(plan.segments.size(), -1);
    if (counts_known) return waits;
    std::vector<plan::OpId> last(plan.segments.size(), -1);  // of each gate
    for (const plan::Op& op : plan.ops)
        if (std::holds_alternative<plan::Route>(op.args) ||
            std::holds_alternative<plan::ExchangeCounts>(op.args))
            last[at(op.segment)] = op.id;
    plan::OpId latest = -1, awaited = -1;
    for (std::size_t s = 0; s < plan.segments.size(); ++s) {
        if (last[s] >= 0) latest = last[s];
        if (plan.segments[s].kind == plan::SegmentKind::experts) awaited = latest;
        waits[s] = awaited;
    }
    return waits;
}

class Simulation {
  public:
    Simulation(const plan::PassUnderCheck& pass, bool counts_known, const Cluster& cluster)
        : pass_(pass),
          times_(*cluster.times),
          overheads_(times_.calibration()),
          wires_(cluster, std::ssize(pass.ranks)),
          meetings_(pass, wires_) {
        for (const plan::RankUnderCheck& under_check : pass.ranks) {
            const plan::RankPlan& plan = *under_check.plan;
            Rank& rank = ranks_.emplace_back();
            rank.done_s.assign(plan.ops.size(), kNever);
            rank.wait_of = waits_of(plan, counts_known);
            rank.lanes.resize(plan.lanes.size());
            for (std::size_t i = 0; i < plan.lanes.size(); ++i)
                rank.lanes[i].exchange = plan.lanes[i].exchange;
            for (const plan::Op& op : plan.ops) rank.lanes[at(op.lane)].ops.push_back(&op);
        }
    }

    std::vector<trace::Span> run() {
        for (std::int64_t rank = 0; rank < std::ssize(ranks_); ++rank) wake(rank, 0);
        while (!events_.empty()) {
            const Event event = events_.top();
            events_.pop();
            if (event.version == ranks_[at(event.rank)].version) advance(event.rank, event.at_s);
        }
        for (std::int64_t rank = 0; rank < std::ssize(ranks_); ++rank)
            for (const Lane& lane : ranks_[at(rank)].lanes)
                if (lane.head() != nullptr)
                    throw Error(Exit::internal, fmt::format("simulation: {}: waits for ever",
                                                            name_op(pass_, rank, *lane.head())));
        return std::move(spans_);
    }

  private:
    void wake(std::int64_t rank, double at_s) {
        if (at_s < kNever) events_.push({at_s, rank, ++ranks_[at(rank)].version});
    }

    // Everything that happens on this rank up to and at `now_s`; nothing happens in between.
    void advance(std::int64_t rank_idx, double now_s) {
        Rank& rank = ranks_[at(rank_idx)];
        for (Lane& lane : rank.lanes)
            if (lane.phase == Phase::working) lane.work_s -= lane.rate * (now_s - rank.now_s);
        rank.now_s = now_s;
        for (bool moved = true; moved;) {
            moved = false;
            for (Lane& lane : rank.lanes)
                while (step(rank_idx, lane)) moved = true;
        }
        set_rates(rank);
        double next_s = kNever;
        for (const Lane& lane : rank.lanes) {
            if (lane.phase == Phase::starting || lane.phase == Phase::waiting)
                next_s = std::min(next_s, lane.until_s);
            if (lane.phase == Phase::working) next_s = std::min(next_s, now_s + lane.work_s / lane.rate);
        }
        wake(rank_idx, next_s);
    }

    // The lane's next step, if it is due; false: it is not.
    bool step(std::int64_t rank_idx, Lane& lane) {
        const Rank& rank = ranks_[at(rank_idx)];
        switch (lane.phase) {
            case Phase::idle: {
                const double start_s = start_of(rank, pass_.ranks[at(rank_idx)], lane);
                if (start_s == kNever) return false;
                lane.until_s = start_s;
                lane.phase = Phase::starting;
                return true;
            }
            case Phase::starting:
                if (rank.now_s < lane.until_s - kNoTime) return false;
                start(rank_idx, lane);
                return true;
            case Phase::meeting:
                if (lane.meeting->of(rank_idx).num_missing > 0) return false;
                lane.phase = Phase::working;
                return true;
            case Phase::working:
                // What is left may be less than this late a clock can tell.
                if (lane.work_s > kNoTime && rank.now_s + lane.work_s / lane.rate > rank.now_s) return false;
                leave_work(rank_idx, lane);
                return true;
            case Phase::waiting:
                if (rank.now_s < lane.until_s - kNoTime) return false;
                lane.meeting = nullptr;
                lane.work_s = lane.sums_s;
                lane.phase = Phase::working;
                return true;
        }
        throw Error(Exit::internal, "unknown phase of a lane");
    }

    // When the lane's next op starts; kNever while something that it needs is not done.
    double start_of(const Rank& rank, const plan::RankUnderCheck& of, const Lane& lane) const {
        const plan::Op* op = lane.head();
        if (op == nullptr) return kNever;
        double ready_s = 0;
        for (std::int64_t i = op->after.begin; i < op->after.end; ++i)
            ready_s = std::max(ready_s, rank.done_s[at(of.plan->after[at(i)])]);
        if (const plan::OpId awaited = rank.wait_of[at(op->segment)]; awaited >= 0)
            ready_s = std::max(ready_s, rank.done_s[at(awaited)]);
        if (ready_s == kNever) return kNever;
        const double hop_s = ready_s > lane.free_s ? overheads_.lane_hop_s : 0;
        return std::max(ready_s, lane.free_s) + hop_s + overheads_.op_overhead_s;
    }

    void start(std::int64_t rank_idx, Lane& lane) {
        const plan::Op& op = *lane.head();
        const double seconds = times_.seconds(op, *pass_.ranks[at(rank_idx)].plan);
        const double now_s = ranks_[at(rank_idx)].now_s;
        lane.begin_s = now_s;
        lane.sums_s = 0;
        lane.work_s = seconds;
        lane.slowdown = lane.exchange ? overheads_.exchange_slowdown : 1;
        lane.phase = Phase::working;
        if (members_of(pass_, {rank_idx, &op}).empty()) return;
        const Meetings::Arrival arrival = meetings_.arrive({rank_idx, &op}, nanoseconds(now_s));
        lane.meeting = arrival.meeting;
        lane.sums_s = seconds;
        const auto messages =
            times_.messages(arrival.num_messages).seconds(static_cast<double>(arrival.transfer_bytes));
        const double copy_s = times_.copy_seconds(static_cast<double>(arrival.own_bytes));
        lane.work_s = messages.alone + copy_s;
        const double beside_s = messages.beside + lane.slowdown * copy_s;
        if (lane.work_s > 0) lane.slowdown = std::max(1.0, beside_s / lane.work_s);
        lane.phase = Phase::meeting;
        for (const std::int64_t peer : arrival.peers) wake(peer, now_s);
    }

    // The op's work, or its exchange's, is done.
    void leave_work(std::int64_t rank_idx, Lane& lane) {
        Rank& rank = ranks_[at(rank_idx)];
        if (lane.meeting != nullptr) {
            lane.until_s =
                std::max(rank.now_s, static_cast<double>(lane.meeting->of(rank_idx).wire_end_ns) * 1e-9);
            lane.phase = Phase::waiting;
            return;
        }
        const plan::Op& op = *lane.head();
        const plan::Segment& segment = pass_.ranks[at(rank_idx)].plan->segments[at(op.segment)];
        spans_.push_back({.rank = static_cast<std::int32_t>(rank_idx),
                          .lane = op.lane,
                          .op = op.id,
                          .kind = static_cast<std::int32_t>(op.args.index()),
                          .layer = static_cast<std::int32_t>(segment.layer),
                          .micro_batch = static_cast<std::int32_t>(segment.micro_batch),
                          .begin_ns = nanoseconds(lane.begin_s),
                          .end_ns = nanoseconds(rank.now_s)});
        rank.done_s[at(op.id)] = rank.now_s;
        lane.free_s = rank.now_s;
        ++lane.next;
        lane.phase = Phase::idle;
    }

    void set_rates(Rank& rank) const {
        const auto at_work = [&](bool exchange) {
            return std::ranges::count_if(rank.lanes, [&](const Lane& lane) {
                return lane.phase == Phase::working && lane.exchange == exchange;
            });
        };
        const std::int64_t exchanging = at_work(true);
        const bool together = exchanging > 0 && at_work(false) > 0;
        double exchanged = 0;  // seconds of exchange work a second
        for (Lane& lane : rank.lanes) {
            if (!lane.exchange || lane.phase != Phase::working) continue;
            lane.rate = (together ? 1 / lane.slowdown : 1) / static_cast<double>(exchanging);
            exchanged += lane.rate;
        }
        constexpr double kSlowest = 0.01;
        for (Lane& lane : rank.lanes)
            if (!lane.exchange)
                lane.rate = std::max(kSlowest, 1 - overheads_.gemm_loss * (together ? exchanged : 0));
    }

    const plan::PassUnderCheck& pass_;
    const cost::OpTimes& times_;
    const cost::Calibration& overheads_;
    Wires wires_;
    Meetings meetings_;
    std::vector<Rank> ranks_;
    std::priority_queue<Event, std::vector<Event>, std::greater<>> events_;
    std::vector<trace::Span> spans_;
};

}  // namespace

std::vector<trace::Span> simulate(const plan::PassUnderCheck& pass, bool counts_known,
                                  const Cluster& cluster) {
    return Simulation(pass, counts_known, cluster).run();
}

double seconds_of(const std::vector<trace::Span>& spans) {
    std::int64_t end_ns = 0;
    for (const trace::Span& span : spans) end_ns = std::max(end_ns, span.end_ns);
    return static_cast<double>(end_ns) * 1e-9;
}

}  // namespace eps::backend::sim
