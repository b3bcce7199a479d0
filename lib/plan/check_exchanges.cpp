// R4: exchanges match, and everybody gets to them.
#include "base/error.hpp"
#include "plan/check.hpp"
#include "plan/fields.hpp"

#include <algorithm>
#include <map>
#include <optional>

#include <fmt/format.h>

namespace eps::plan {

namespace {

std::optional<Group> group_of(const OpArgs& args) {
    if (const auto* op = std::get_if<AllToAll>(&args)) return op->group;
    if (const auto* op = std::get_if<ReduceScatter>(&args)) return op->group;
    if (const auto* op = std::get_if<AllGather>(&args)) return op->group;
    if (std::holds_alternative<ExchangeCounts>(args)) return Group::block;
    return {};
}

std::int64_t bytes_of_rows(const RankPlan& plan, BufferId buffer, std::int64_t rows) {
    const Buffer& b = plan.buffers[at(buffer)];
    return rows * b.cols * bytes_of(b.dtype);
}

/// Bytes to and from each rank of a collective's group.
struct Volume : IgnoredFields {
    std::vector<std::int64_t> to, from;

    Volume(const RankPlan& plan, const OpArgs& args, std::int64_t size)
        : to(at(size), 0), from(at(size), 0), plan_(plan) {
        for_each_field(args, *this);
        const auto* all = std::get_if<ExchangeCounts>(&args);
        if (all == nullptr) return;
        to.assign(at(size), bytes_of_rows(plan, all->counts.buffer, all->counts.rows.size()));
        const std::int64_t bytes = bytes_of_rows(plan, all->all_counts.buffer, all->all_counts.rows.size());
        from.assign(at(size), bytes % size == 0 ? bytes / size : -1);
    }

    void sends(const char*, Range transfers, BufferId buffer) { add(transfers, buffer, to); }
    void receives(const char*, Range transfers, BufferId buffer) { add(transfers, buffer, from); }

  private:
    void add(Range transfers, BufferId buffer, std::vector<std::int64_t>& bytes) const {
        for (std::int64_t i = transfers.begin; i < transfers.end; ++i) {
            const Transfer& transfer = plan_.transfers[at(i)];
            bytes[at(transfer.peer)] += bytes_of_rows(plan_, buffer, transfer.rows.size());
        }
    }

    const RankPlan& plan_;
};

class Exchanges {
  public:
    explicit Exchanges(const PassUnderCheck& pass) : pass_(pass) {
        for (std::int64_t rank = 0; rank < std::ssize(pass.ranks); ++rank)
            for (const Op& op : pass.ranks[at(rank)].plan->ops) {
                if (const auto group = group_of(op.args)) {
                    collectives_[{members_of(pass, {rank, &op}), plan(rank).lanes[at(op.lane)].name}][rank]
                        .push_back(&op);
                    ++num_exchanges;
                } else if (const auto* send = std::get_if<Send>(&op.args)) {
                    sends_[{rank, send->peer}].push_back(&op);
                    ++num_exchanges;
                } else if (const auto* receive = std::get_if<Receive>(&op.args)) {
                    receives_[{receive->peer, rank}].push_back(&op);
                    ++num_exchanges;
                }
            }
    }

    void check() {
        for (auto& [key, of_rank] : collectives_) check_group(key.first, of_rank);
        for (auto& [pair, ops] : sends_) check_pair(pair.first, pair.second);
        for (auto& [pair, ops] : receives_) check_pair(pair.first, pair.second);
    }

    std::int64_t num_exchanges = 0;

  private:
    using Ops = std::vector<const Op*>;

    const RankPlan& plan(std::int64_t rank) const { return *pass_.ranks[at(rank)].plan; }

    [[noreturn]] void refuse(std::int64_t rank, const Op& op, const std::string& problem) const {
        throw Error(Exit::internal, fmt::format("R4: {}: {}", name_op(pass_, rank, op), problem));
    }

    bool same_work(std::int64_t rank, const Op& op, std::int64_t other_rank, const Op& other) const {
        const Segment& a = plan(rank).segments[at(op.segment)];
        const Segment& b = plan(other_rank).segments[at(other.segment)];
        return op.args.index() == other.args.index() && a.layer == b.layer && a.micro_batch == b.micro_batch;
    }

    // Each rank's collectives of one group and lane, one place after another.
    void check_group(const std::vector<std::int64_t>& members, std::map<std::int64_t, Ops>& of_rank) {
        std::size_t longest = 0;
        for (const std::int64_t rank : members) longest = std::max(longest, of_rank[rank].size());
        for (std::size_t place = 0; place < longest; ++place) {
            std::optional<std::int64_t> first;  // rank that has one there
            for (const std::int64_t rank : members)
                if (!first && place < of_rank[rank].size()) first = rank;
            const Op& of_first = *of_rank[*first][place];
            for (const std::int64_t rank : members) {
                if (place >= of_rank[rank].size())
                    refuse(*first, of_first, fmt::format("rank {} does not take part", rank));
                const Op& op = *of_rank[rank][place];
                if (!same_work(*first, of_first, rank, op))
                    refuse(rank, op, fmt::format("meets {}", name_op(pass_, *first, of_first)));
            }
            check_volumes(members, of_rank, place);
        }
    }

    void check_volumes(const std::vector<std::int64_t>& members, std::map<std::int64_t, Ops>& of_rank,
                       std::size_t place) const {
        std::vector<Volume> volumes;
        for (const std::int64_t rank : members)
            volumes.emplace_back(plan(rank), of_rank[rank][place]->args, std::ssize(members));
        for (std::size_t a = 0; a < members.size(); ++a)
            for (std::size_t b = 0; b < members.size(); ++b)
                if (volumes[a].to[b] != volumes[b].from[a])
                    refuse(members[a], *of_rank[members[a]][place],
                           fmt::format("sends {} bytes to rank {}, whose op {} receives {}", volumes[a].to[b],
                                       members[b], of_rank[members[b]][place]->id, volumes[b].from[a]));
    }

    void check_pair(std::int64_t sender, std::int64_t receiver) {
        const Ops& sends = sends_[{sender, receiver}];
        const Ops& receives = receives_[{sender, receiver}];
        for (std::size_t i = 0; i < std::max(sends.size(), receives.size()); ++i) {
            if (i >= receives.size())
                refuse(sender, *sends[i], fmt::format("rank {} does not receive it", receiver));
            if (i >= sends.size())
                refuse(receiver, *receives[i], fmt::format("rank {} does not send it", sender));
            const Slice out = std::get<Send>(sends[i]->args).rows,
                        in = std::get<Receive>(receives[i]->args).rows;
            const std::int64_t sent = bytes_of_rows(plan(sender), out.buffer, out.rows.size());
            const std::int64_t received = bytes_of_rows(plan(receiver), in.buffer, in.rows.size());
            const auto micro_batch = [&](std::int64_t rank, const Op& op) {
                return plan(rank).segments[at(op.segment)].micro_batch;
            };
            if (sent != received || micro_batch(sender, *sends[i]) != micro_batch(receiver, *receives[i]))
                refuse(sender, *sends[i],
                       fmt::format("sends {} bytes, but {} receives {}", sent,
                                   name_op(pass_, receiver, *receives[i]), received));
        }
    }

    const PassUnderCheck& pass_;
    std::map<std::pair<std::vector<std::int64_t>, std::string>, std::map<std::int64_t, Ops>>
        collectives_;                                                        // [members, lane][rank]
    std::map<std::pair<std::int64_t, std::int64_t>, Ops> sends_, receives_;  // [sender, receiver]
};

std::vector<std::int64_t> consecutive(std::int64_t first, std::int64_t count) {
    std::vector<std::int64_t> ranks;
    for (std::int64_t i = 0; i < count; ++i) ranks.push_back(first + i);
    return ranks;
}

}  // namespace

std::vector<std::int64_t> members_of(const PassUnderCheck& pass, RankOp op) {
    if (const auto* send = std::get_if<Send>(&op.op->args)) return {op.rank, send->peer};
    if (const auto* receive = std::get_if<Receive>(&op.op->args)) return {receive->peer, op.rank};
    const auto group = group_of(op.op->args);
    if (!group) return {};
    const placement::Placement& placement = pass.placement;
    const placement::Position position = placement::position_of(placement, op.rank);
    switch (*group) {
        case Group::tp:
            return consecutive(first_rank_of_tp_group(placement, position), placement.attention_tp);
        case Group::block:
            return consecutive(first_rank_of_block(placement, position), placement.ep * placement.etp);
        case Group::world:
            return consecutive(0, placement.world());
    }
    throw Error(Exit::internal, "unknown group");
}

std::int64_t check_exchanges(const PassUnderCheck& pass) {
    Exchanges exchanges(pass);
    exchanges.check();
    replay(pass, [](std::span<const RankOp>) {});
    return exchanges.num_exchanges;
}

}  // namespace eps::plan
