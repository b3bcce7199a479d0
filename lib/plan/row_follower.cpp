#include "plan/row_follower.hpp"

#include "base/error.hpp"
#include "plan/fields.hpp"
#include "plan/print.hpp"

#include <algorithm>

#include <fmt/format.h>

namespace eps::plan {

namespace {

/// Slot j weighs j: a weight tells whose it is.
std::vector<float> slot_numbers(std::size_t num_slots, std::int64_t top_k) {
    std::vector<float> numbers(num_slots);
    for (std::size_t i = 0; i < num_slots; ++i) numbers[i] = static_cast<float>(i % at(top_k));
    return numbers;
}

}  // namespace

RowFollower::RowFollower(const PassUnderCheck& pass) : pass_(pass) {
    const placement::Placement& placement = pass.placement;
    block_ = {pass.spec->n_routed_experts, placement.ep, placement.etp,
              std::max<std::int64_t>(1, pass.spec->num_experts_per_tok)};
    if (block_.top_k > 64) throw Error(Exit::internal, "R5: rows are followed for at most 64 slots a token");
    for (std::int64_t rank = 0; rank < placement.world(); ++rank) {
        const std::size_t num_buffers = plan(rank).buffers.size();
        Rank& state = ranks_.emplace_back();
        state.position = placement::position_of(placement, rank);
        state.rows.resize(num_buffers);
        state.ints.resize(num_buffers);
        state.weights.resize(num_buffers);
    }
    for (std::int32_t gate = 0; gate < std::ssize(pass.gates); ++gate) {
        owners_.emplace_back(at(placement.world()));
        chunk_bounds_.emplace_back(at(placement.world()));
        for (std::int64_t rank = 0; rank < placement.world(); ++rank) {
            OfOwner& owner = owners_.back()[at(rank)];
            owner.out.assign(at(num_tokens(gate, rank) * block_.num_ranks()), 0);
            owner.home = owner.out;
            owner.computed.assign(at(num_tokens(gate, rank) * block_.num_shards), 0);
            if (num_tokens(gate, rank) == 0)
                owner.counts.assign(num_counts(), 0);  // nobody waits for its route
        }
    }
}

struct RowFollower::OneOp {
    RowFollower& self;
    RankOp now;

    template <typename Op>
    void operator()(const Op&) const {
        self.forget_written(now);
    }

    void operator()(const Gate& op) const {
        const std::int32_t gate = self.gate_of(now);
        const auto ids = self.ids_of(gate, now.rank);
        if (std::ssize(ids) != op.in.rows.size() * self.block_.top_k)
            self.refuse(now,
                        fmt::format("works on {} rows, {} ids were chosen", op.in.rows.size(), ids.size()));
        for (std::int64_t i = 0; i < op.in.rows.size(); ++i)
            self.set(
                now.rank, op.in.buffer, op.in.rows.begin + i,
                {RowStage::row, gate, static_cast<std::int32_t>(now.rank), static_cast<std::int32_t>(i)});
        self.ranks_[at(now.rank)].ints[at(op.ids.buffer)].assign(ids.begin(), ids.end());
    }

    void operator()(const Route& op) const {
        if (op.send_order == kNoBuffer) return;
        if (op.chunks != (self.pass_.per_chunk ? self.pass_.num_chunks : 0) || op.dedup != self.pass_.dedup)
            self.refuse(now, "routes for other chunks or another dedup than the pass has");
        const std::int32_t gate = self.gate_of(now);
        const auto ids = self.ids_of(gate, now.rank);
        OfOwner& owner = self.owners_[at(gate)][at(now.rank)];
        std::vector<std::int32_t>& order = self.ranks_[at(now.rank)].ints[at(op.send_order)];
        order.assign(ids.size(), 0);
        owner.sent_slots.assign(ids.size() * at(self.block_.slot_columns()), 0);
        owner.counts.assign(self.num_counts(), 0);
        const std::int64_t num_sent =
            routing::route(self.block_, ids, slot_numbers(ids.size(), self.block_.top_k), op.chunks, op.dedup,
                           owner.counts, order, owner.sent_slots);
        order.resize(at(num_sent));
        owner.sent_slots.resize(at(num_sent * self.block_.slot_columns()));
        self.ranks_[at(now.rank)].ints[at(op.sent_slots)] = owner.sent_slots;
    }

    void operator()(const MapRows& op) const {
        op.arrived_slots.buffer == kNoBuffer ? self.map_rows_at_home(now, op) : self.map_rows(now, op);
    }

    void operator()(const MapHome& op) const {
        if (op.per_chunk != self.pass_.per_chunk)
            self.refuse(now, "maps for another combine than the pass has");
        const routing::Chunks chunks = self.chunks_of(now, op.chunk_bounds);
        const auto ids = self.ids_of(self.gate_of(now), now.rank);
        Rank& rank = self.ranks_[at(now.rank)];
        std::vector<std::int32_t>& starts = rank.ints[at(op.starts)];
        std::vector<std::int32_t>& index = rank.ints[at(op.index)];
        starts.assign(ids.size() / at(self.block_.top_k) + 1, 0);
        index.assign(ids.size() * at(self.block_.num_shards), 0);
        index.resize(at(routing::map_home(self.block_, ids, chunks, op.per_chunk, starts, index)));
    }

    void operator()(const PackRows& op) const {
        const RankPlan& plan = self.plan(now.rank);
        const std::vector<std::int32_t>& index = self.ranks_[at(now.rank)].ints[at(op.index)];
        for (std::int64_t i = op.ranges.begin; i < op.ranges.end; i += 2)
            for (std::int64_t row = plan.numbers[at(i)]; row < plan.numbers[at(i + 1)]; ++row)
                self.set_made(
                    now, op.out, row, op.stay,
                    row < std::ssize(index) ? self.get(now.rank, op.in, index[at(row)]) : HeldRow{});
    }

    void operator()(const ExpertGemm& op) const { self.compute(now, op); }

    void operator()(const Swiglu& op) const {
        for (std::int64_t i = 0; i < op.out.rows.size(); ++i)
            self.set(now.rank, op.out.buffer, op.out.rows.begin + i,
                     self.get(now.rank, op.in.buffer, op.in.rows.begin + i));
    }

    void operator()(const Clear& op) const {
        for (std::int64_t row = op.out.rows.begin; row < op.out.rows.end; ++row)
            self.set(now.rank, op.out.buffer, row, {.stage = RowStage::zero});
    }

    void operator()(const LocalReduce& op) const { self.reduce(now, op); }
    void operator()(const UnpackSum& op) const { self.sum_at_home(now, op); }
};

void RowFollower::visit(std::span<const RankOp> ops) {
    if (std::holds_alternative<AllToAll>(ops.front().op->args)) {
        exchange(ops);
        return;
    }
    for (const RankOp& op : ops) std::visit(OneOp{*this, op}, op.op->args);
}

void RowFollower::refuse(RankOp op, const std::string& problem) const {
    throw Error(Exit::internal, fmt::format("R5: {}: {}", name_op(pass_, op.rank, *op.op), problem));
}

std::int32_t RowFollower::gate_of(RankOp op) const {
    const Segment& segment = plan(op.rank).segments[at(op.op->segment)];
    for (std::size_t i = 0; i < pass_.gates.size(); ++i)
        if (pass_.gates[i].layer == segment.layer && pass_.gates[i].micro_batch == segment.micro_batch)
            return static_cast<std::int32_t>(i);
    refuse(op, "nobody knows what the gate chose");
}

std::span<const std::int32_t> RowFollower::ids_of(std::int32_t gate, std::int64_t rank) const {
    return pass_.gates[at(gate)].ids[at(rank)];
}

std::int64_t RowFollower::num_tokens(std::int32_t gate, std::int64_t rank) const {
    return std::ssize(ids_of(gate, rank)) / block_.top_k;
}

std::int64_t RowFollower::block_rank(std::int64_t rank) const {
    const placement::Position& position = ranks_[at(rank)].position;
    return position.ep * block_.num_shards + position.etp;
}

bool RowFollower::shard_has_columns(std::int64_t shard) const {
    return !part_of(pass_.spec->moe_intermediate_size, block_.num_shards, shard).empty();
}

RowFollower::OnPart RowFollower::on_part(std::int32_t gate, std::int64_t owner, std::int64_t token,
                                         std::int64_t part) const {
    const Range experts = block_.experts_of(part);
    const auto ids = ids_of(gate, owner).subspan(at(token * block_.top_k), at(block_.top_k));
    OnPart there;
    for (const std::int32_t id : ids) there.experts += experts.contains(id);
    for (std::int64_t c = 0; pass_.per_chunk && c < pass_.num_chunks; ++c) {
        const Range chunk = routing::chunk_of(experts, pass_.num_chunks, c);
        there.chunks += std::ranges::any_of(ids, [&](std::int32_t id) { return chunk.contains(id); });
    }
    return there;
}

HeldRow RowFollower::get(std::int64_t rank, BufferId buffer, std::int64_t row) const {
    const std::vector<HeldRow>& rows = ranks_[at(rank)].rows[at(buffer)];
    return row < std::ssize(rows) ? rows[at(row)] : HeldRow{};
}

void RowFollower::set(std::int64_t rank, BufferId buffer, std::int64_t row, const HeldRow& held) {
    std::vector<HeldRow>& rows = ranks_[at(rank)].rows[at(buffer)];
    if (row >= std::ssize(rows)) rows.resize(at(plan(rank).buffers[at(buffer)].rows));
    rows[at(row)] = held;
}

// A row that an op makes: one that stays has come to where it was to go.
void RowFollower::set_made(RankOp op, BufferId out, std::int64_t row, const Stay& stay, const HeldRow& held) {
    if (stay.to.buffer == kNoBuffer || !stay.rows.contains(row)) {
        set(op.rank, out, row, held);
        return;
    }
    if (stay.rows.size() != stay.to.rows.size())
        refuse(op, fmt::format("{} rows stay as {}", stay.rows.size(), stay.to.rows.size()));
    const std::int64_t there = stay.to.rows.begin + row - stay.rows.begin;
    set(op.rank, stay.to.buffer, there, held);
    travel(op, stay.to.buffer, there, op.rank);
}

void RowFollower::forget_written(RankOp op) {
    struct Forget : IgnoredFields {
        RowFollower& self;
        std::int64_t rank;
        Forget(RowFollower& follower, std::int64_t of_rank) : self(follower), rank(of_rank) {}
        void slice(const char*, Slice slice, Access access) const {
            if (access == Access::read || slice.buffer == kNoBuffer) return;
            std::vector<HeldRow>& rows = self.ranks_[at(rank)].rows[at(slice.buffer)];
            for (std::int64_t row = slice.rows.begin; row < std::min(slice.rows.end, std::ssize(rows)); ++row)
                rows[at(row)] = {};
        }
        void receives(const char*, Range transfers, BufferId buffer) const {
            for (std::int64_t i = transfers.begin; i < transfers.end; ++i)
                slice("", {buffer, self.plan(rank).transfers[at(i)].rows}, Access::write);
        }
    };
    for_each_field(op.op->args, Forget(*this, op.rank));
}

// Rows, or integers about them, from each member to each.
void RowFollower::exchange(std::span<const RankOp> ops) {
    for (std::size_t a = 0; a < ops.size(); ++a)
        for (std::size_t b = 0; b < ops.size(); ++b) {
            const auto& out = std::get<AllToAll>(ops[a].op->args);
            const auto& in = std::get<AllToAll>(ops[b].op->args);
            const auto rows = [&](std::int64_t rank, Range transfers, std::size_t peer) {
                for (std::int64_t i = transfers.begin; i < transfers.end; ++i)
                    if (const Transfer& t = plan(rank).transfers[at(i)]; at(t.peer) == peer) return t.rows;
                return Range{};
            };
            const Range from = rows(ops[a].rank, out.sends, b), to = rows(ops[b].rank, in.receives, a);
            if (from.size() != to.size())
                refuse(ops[a], fmt::format("{} rows become {}", from.size(), to.size()));
            const Buffer& buffer = plan(ops[a].rank).buffers[at(out.in)];
            if (buffer.dtype == DType::i32) {
                const std::vector<std::int32_t>& sent = ranks_[at(ops[a].rank)].ints[at(out.in)];
                std::vector<std::int32_t>& arrived = ranks_[at(ops[b].rank)].ints[at(in.out)];
                if (from.end * buffer.cols > std::ssize(sent))
                    refuse(ops[a], fmt::format("sends rows {}:{} of {}, which holds {}", from.begin, from.end,
                                               buffer.name, std::ssize(sent) / buffer.cols));
                if (to.end * buffer.cols > std::ssize(arrived)) arrived.resize(at(to.end * buffer.cols));
                std::copy_n(sent.begin() + from.begin * buffer.cols, from.size() * buffer.cols,
                            arrived.begin() + to.begin * buffer.cols);
                continue;
            }
            for (std::int64_t i = 0; i < from.size(); ++i) {
                travel(ops[a], out.in, from.begin + i, ops[b].rank);
                set(ops[b].rank, in.out, to.begin + i, get(ops[a].rank, out.in, from.begin + i));
            }
        }
}

void RowFollower::travel(RankOp op, BufferId buffer, std::int64_t row, std::int64_t to) {
    const HeldRow held = get(op.rank, buffer, row);
    if (held.stage == RowStage::zero) return;
    if ((held.stage != RowStage::row && held.stage != RowStage::sum) || held.gate != gate_of(op))
        refuse(op, fmt::format("sends row {} of {}, which holds no row of this layer", row,
                               plan(op.rank).buffers[at(buffer)].name));
    OfOwner& owner = owners_[at(held.gate)][at(held.owner)];
    const auto refuse_token = [&](const char* what, const std::string& where) {
        refuse(op, fmt::format("takes {} token {} of rank {} {}", what, held.token, held.owner, where));
    };
    if (held.stage == RowStage::sum) {
        if (to != held.owner) refuse_token("a sum of", fmt::format("to rank {}", to));
        const OnPart there = on_part(held.gate, held.owner, held.token, ranks_[at(op.rank)].position.ep);
        std::int64_t& home = owner.home[at(held.token * block_.num_ranks() + block_rank(op.rank))];
        if (++home > (pass_.per_chunk ? there.chunks : 1)) refuse_token("a sum of", "home once too often");
        return;
    }
    const OnPart there = on_part(held.gate, held.owner, held.token, ranks_[at(to)].position.ep);
    std::int64_t& out = owner.out[at(held.token * block_.num_ranks() + block_rank(to))];
    if (++out > (pass_.dedup ? std::min<std::int64_t>(1, there.experts) : there.experts))
        refuse_token("a row of", fmt::format("to rank {} once too often", to));
}

}  // namespace eps::plan
