// R5: what experts compute, what is summed, and whether all of it came home.
#include "base/error.hpp"
#include "plan/print.hpp"
#include "plan/row_follower.hpp"

#include <algorithm>
#include <bit>

#include <fmt/format.h>

namespace eps::plan {

// The slots that every source of the block has for this rank's part, and the counts of all sources.
std::vector<std::int32_t> RowFollower::slots_for(std::int32_t gate, std::int64_t rank,
                                                 std::vector<std::int32_t>& counts, RankOp op) const {
    const std::int64_t fields = routing::num_count_fields(pass_.per_chunk);
    const std::int64_t first_rank = first_rank_of_block(pass_.placement, ranks_[at(rank)].position);
    const Range experts = block_.experts_of(ranks_[at(rank)].position.ep);
    std::vector<std::int32_t> slots;
    for (std::int64_t source = first_rank; source < first_rank + block_.num_ranks(); ++source) {
        const OfOwner& owner = owners_[at(gate)][at(source)];
        if (owner.counts.size() != num_counts())
            refuse(op, fmt::format("rank {} has not routed its rows yet", source));
        const routing::CountsView view{owner.counts.data(), 1, block_.num_experts, fields};
        std::int64_t begin = 0, size = 0;
        for (std::int64_t e = 0; e < experts.end; ++e)
            (e < experts.begin ? begin : size) += view.at(0, e, routing::out_field(pass_.dedup));
        const auto from = owner.sent_slots.begin() + begin * block_.slot_columns();
        slots.insert(slots.end(), from, from + size * block_.slot_columns());
        counts.insert(counts.end(), owner.counts.begin(), owner.counts.end());
    }
    return slots;
}

// Every part's experts in order, and for all ranks of the block the same.
routing::Chunks RowFollower::chunks_of(RankOp op, Range chunk_bounds) {
    const auto& numbers = plan(op.rank).numbers;
    const std::vector<std::int64_t> bounds(numbers.begin() + chunk_bounds.begin,
                                           numbers.begin() + chunk_bounds.end);
    const std::int64_t ends = std::ssize(bounds) / block_.num_parts;  // of each part
    if (ends < 2 || ends * block_.num_parts != std::ssize(bounds))
        refuse(op, fmt::format("has {} bounds of chunks for {} parts", bounds.size(), block_.num_parts));
    for (std::int64_t part = 0; part < block_.num_parts; ++part) {
        const auto of_part = std::span(bounds).subspan(at(part * ends), at(ends));
        const Range experts = block_.experts_of(part);
        if (of_part.front() != experts.begin || of_part.back() != experts.end ||
            !std::ranges::is_sorted(of_part))
            refuse(op, fmt::format("has chunks of part {} that are not its experts in order", part));
        for (std::int64_t c = 0; c < pass_.num_chunks; ++c)
            if (ends != pass_.num_chunks + 1 ||
                of_part[at(c)] != routing::chunk_of(experts, pass_.num_chunks, c).begin)
                refuse(op, "maps other chunks than the pass has");
    }
    const std::int64_t first_rank = first_rank_of_block(pass_.placement, ranks_[at(op.rank)].position);
    std::vector<std::int64_t>& agreed = chunk_bounds_[at(gate_of(op))][at(first_rank)];
    if (agreed.empty()) agreed = bounds;
    if (agreed != bounds) refuse(op, "has other chunks than another op or rank of its block");
    return {block_, agreed};
}

void RowFollower::map_rows(RankOp op, const MapRows& args) {
    if (args.dedup != pass_.dedup || args.per_chunk != pass_.per_chunk)
        refuse(op, "maps for another dedup or combine than the pass has");
    const routing::Chunks chunks = chunks_of(op, args.chunk_bounds);
    Rank& rank = ranks_[at(op.rank)];
    std::vector<std::int32_t> counts;
    const std::vector<std::int32_t> slots = slots_for(gate_of(op), op.rank, counts, op);
    const auto& arrived = rank.ints[at(args.arrived_slots.buffer)];
    const std::int64_t num_arrived = args.arrived_slots.rows.size() * block_.slot_columns();
    if (num_arrived != std::ssize(slots) || num_arrived > std::ssize(arrived) ||
        !std::equal(slots.begin(), slots.end(), arrived.begin()))
        refuse(op, fmt::format("has slots of {} rows, not the {} that were routed here",
                               args.arrived_slots.rows.size(), std::ssize(slots) / block_.slot_columns()));
    const routing::CountsView view{counts.data(), block_.num_ranks(), block_.num_experts,
                                   routing::num_count_fields(pass_.per_chunk)};
    const Range experts = block_.experts_of(rank.position.ep);
    std::int64_t expert_rows = 0, home_rows = 0;
    for (std::int64_t s = 0; s < view.num_sources; ++s)
        for (std::int64_t e = experts.begin; e < experts.end; ++e) {
            expert_rows += view.at(s, e, routing::kRows);
            home_rows += view.at(s, e, routing::home_field(pass_.per_chunk));
        }
    auto& order = rank.ints[at(args.expert_order)];
    auto& starts = rank.ints[at(args.reduce_starts)];
    auto& index = rank.ints[at(args.reduce_index)];
    auto& weights = rank.weights[at(args.reduce_weights)];
    order.assign(at(expert_rows), 0);
    starts.assign(at(home_rows + 1), 0);
    index.assign(at(expert_rows), 0);
    weights.assign(at(expert_rows), 0);
    routing::map_rows(block_, rank.position.ep, view, slots, chunks, args.dedup, args.per_chunk, order,
                      {starts, index, weights});
}

void RowFollower::map_rows_at_home(RankOp op, const MapRows& args) {
    Rank& rank = ranks_[at(op.rank)];
    const auto ids = ids_of(gate_of(op), op.rank);
    std::vector<float> slot_numbers(ids.size());
    for (std::size_t i = 0; i < ids.size(); ++i) slot_numbers[i] = static_cast<float>(i % at(block_.top_k));
    auto& order = rank.ints[at(args.expert_order)];
    auto& starts = rank.ints[at(args.reduce_starts)];
    auto& index = rank.ints[at(args.reduce_index)];
    auto& weights = rank.weights[at(args.reduce_weights)];
    order.assign(ids.size(), 0);
    starts.assign(ids.size() / at(block_.top_k) + 1, 0);
    index.assign(ids.size(), 0);
    weights.assign(ids.size(), 0);
    routing::map_rows_at_home(block_, ids, slot_numbers, order, {starts, index, weights});
}

void RowFollower::compute(RankOp op, const ExpertGemm& args) {
    const RankPlan& plan_of_rank = plan(op.rank);
    const placement::Position& position = ranks_[at(op.rank)].position;
    const std::int64_t first_expert = block_.experts_of(position.ep).begin;
    const std::int32_t gate = gate_of(op);
    const bool second = args.which == ExpertWeight::down;
    const std::string& name = plan_of_rank.buffers[at(args.in)].name;
    for (std::int64_t i = 0; i < args.experts.size(); ++i) {
        const std::int64_t expert = first_expert + args.experts.begin + i;
        for (std::int64_t row = plan_of_rank.numbers[at(args.offsets.begin + i)];
             row < plan_of_rank.numbers[at(args.offsets.begin + i + 1)]; ++row) {
            HeldRow held = get(op.rank, args.in, row);
            if (held.stage != (second ? RowStage::half : RowStage::row) || held.gate != gate)
                refuse(op, fmt::format("row {} of {} holds nothing that expert {} has to compute", row, name,
                                       expert));
            const auto ids =
                ids_of(gate, held.owner).subspan(at(held.token * block_.top_k), at(block_.top_k));
            const auto slot = std::ranges::find(ids, expert) - ids.begin();
            if (slot == block_.top_k || (second && held.slots != std::uint64_t{1} << slot))
                refuse(op, fmt::format("row {} of {} is token {} of rank {}, which is not for expert {} here",
                                       row, name, held.token, held.owner, expert));
            held.slots = std::uint64_t{1} << slot;
            held.stage = second ? RowStage::computed : RowStage::half;
            set(op.rank, args.out, row, held);
            if (!second) continue;
            std::uint64_t& computed =
                owners_[at(gate)][at(held.owner)].computed[at(held.token * block_.num_shards + position.etp)];
            if ((computed & held.slots) != 0)
                refuse(op, fmt::format("computes token {} of rank {} for expert {} a second time", held.token,
                                       held.owner, expert));
            computed |= held.slots;
            ++num_computed_;
        }
    }
}

void RowFollower::reduce(RankOp op, const LocalReduce& args) {
    const Rank& rank = ranks_[at(op.rank)];
    const auto& starts = rank.ints[at(args.starts)];
    const auto& index = rank.ints[at(args.index)];
    const auto& weights = rank.weights[at(args.weights)];
    const std::int32_t gate = gate_of(op);
    if (args.out.rows.end >= std::ssize(starts))
        refuse(op, fmt::format("makes sum {} of {}", args.out.rows.end - 1, std::ssize(starts) - 1));
    for (std::int64_t row = args.out.rows.begin; row < args.out.rows.end; ++row) {
        HeldRow sum;
        for (std::int64_t i = starts[at(row)]; i < starts[at(row + 1)]; ++i) {
            HeldRow part = get(op.rank, args.in, index[at(i)]);
            if (part.stage == RowStage::zero) {
                sum.stage = RowStage::zero;
                continue;
            }
            if (part.stage != RowStage::computed || part.gate != gate)
                refuse(op,
                       fmt::format("adds row {} to sum {}, which no expert has computed", index[at(i)], row));
            const bool first = sum.stage == RowStage::unknown;
            if (!first && (part.owner != sum.owner || part.token != sum.token || part.slots <= sum.slots))
                refuse(op, fmt::format("adds rows of two tokens, or not by ascending slots, to sum {}", row));
            if (part.slots != std::uint64_t{1} << static_cast<int>(weights[at(i)]))
                refuse(op, fmt::format("weighs row {} by another slot's weight", index[at(i)]));
            part.slots |= sum.slots;
            sum = part;
            sum.stage = RowStage::sum;
        }
        sum.from = static_cast<std::int32_t>(op.rank);
        set_made(op, args.out.buffer, row, args.stay, sum);
    }
}

void RowFollower::sum_at_home(RankOp op, const UnpackSum& args) {
    const Rank& rank = ranks_[at(op.rank)];
    const std::int32_t gate = gate_of(op);
    const bool mapped = args.starts != kNoBuffer;
    const auto ints = [&](BufferId id) {
        return mapped ? std::span<const std::int32_t>(rank.ints[at(id)]) : std::span<const std::int32_t>();
    };
    const auto starts = ints(args.starts), index = ints(args.index);
    const std::uint64_t all_slots = ~std::uint64_t{0} >> (64 - block_.top_k);
    if (args.out.rows.size() != num_tokens(gate, op.rank) ||
        (mapped && std::ssize(starts) != args.out.rows.size() + 1))
        refuse(op, fmt::format("sums {} rows of {}", args.out.rows.size(), num_tokens(gate, op.rank)));
    for (std::int64_t token = 0; token < args.out.rows.size(); ++token) {
        std::vector<std::uint64_t> slots(at(block_.num_shards), 0);  // per etp shard
        std::int64_t latest_from = -1;
        const auto add = [&](std::int64_t row) {
            const HeldRow part = get(op.rank, args.in, row);
            if (part.stage == RowStage::zero) return;
            if (part.stage != RowStage::sum || part.gate != gate || part.owner != op.rank ||
                part.token != token)
                refuse(op, fmt::format("adds row {} of {} to token {}, whose sum it does not hold", row,
                                       plan(op.rank).buffers[at(args.in)].name, token));
            std::uint64_t& of_shard = slots[at(ranks_[at(part.from)].position.etp)];
            if (part.from < latest_from || (of_shard & part.slots) != 0)
                refuse(op, fmt::format("adds sums of token {} twice, or not by ascending rank", token));
            latest_from = part.from;
            of_shard |= part.slots;
        };
        if (!mapped) add(token);
        for (std::int64_t i = mapped ? starts[at(token)] : 0; i < (mapped ? starts[at(token + 1)] : 0); ++i)
            add(index[at(i)]);
        for (std::int64_t shard = 0; shard < block_.num_shards; ++shard) {
            const bool expected = shard_has_columns(shard) && (mapped || shard == rank.position.etp);
            if (slots[at(shard)] != (expected ? all_slots : 0))
                refuse(op, fmt::format("token {} has the sums of {} experts of {} from shard {}", token,
                                       std::popcount(slots[at(shard)]), block_.top_k, shard));
        }
        if (mapped) check_travel(op, gate, token);
    }
    owners_[at(gate)][at(op.rank)].num_summed += args.out.rows.size();
}

// A row that is at home again has been everywhere.
void RowFollower::check_travel(RankOp op, std::int32_t gate, std::int64_t token) const {
    const OfOwner& owner = owners_[at(gate)][at(op.rank)];
    for (std::int64_t r = 0; r < block_.num_ranks(); ++r) {
        const OnPart there = on_part(gate, op.rank, token, r / block_.num_shards);
        const std::int64_t once = std::min<std::int64_t>(1, there.experts);
        const std::int64_t out = pass_.dedup ? once : there.experts;
        const std::int64_t home = !shard_has_columns(r % block_.num_shards) ? 0
                                  : pass_.per_chunk                         ? there.chunks
                                                                            : once;
        const std::size_t i = at(token * block_.num_ranks() + r);
        if (owner.out[i] != out || owner.home[i] != home)
            refuse(op,
                   fmt::format(
                       "token {} travelled {} times out and {} times home, not {} and {}, with rank {} of "
                       "the block",
                       token, owner.out[i], owner.home[i], out, home, r));
    }
}

std::int64_t RowFollower::finish() const {
    for (std::int32_t gate = 0; gate < std::ssize(pass_.gates); ++gate)
        for (std::int64_t rank = 0; rank < std::ssize(ranks_); ++rank) {
            const std::int64_t summed = owners_[at(gate)][at(rank)].num_summed;
            if (summed == num_tokens(gate, rank)) continue;
            const Segment segment{SegmentKind::experts, pass_.gates[at(gate)].layer,
                                  pass_.gates[at(gate)].micro_batch};
            throw Error(Exit::internal,
                        fmt::format("R5: rank {}, {}: {} of {} rows were summed at home", rank,
                                    to_string(segment), summed, num_tokens(gate, rank)));
        }
    return num_computed_;
}

std::int64_t check_rows(const PassUnderCheck& pass) {
    RowFollower follower(pass);
    replay(pass, [&](std::span<const RankOp> ops) { follower.visit(ops); });
    return follower.finish();
}

}  // namespace eps::plan
