// Lowering of the experts segment, dispatch to combine: EPS-MoE's expert pipeline (arXiv 2410.12247,
// section 4.3).
//
// A rank's experts form n chunks. The dispatch lane sends chunk after chunk; the compute lane runs the GEMMs
// of chunk i as soon as it has arrived, while chunk i+1 travels; tokens whose last local expert is done are
// reduced and go home on the combine lane. Standard EP is the same with n = 1; without overlap every op waits
// for the one before it.
#include "base/error.hpp"
#include "cost/paper_rules.hpp"
#include "schedule/lowering.hpp"

#include <algorithm>

namespace eps::schedule {

using placement::WeightRole;
using plan::BufferId;
using plan::kNoBuffer;
using plan::reads;
using plan::Slice;
using plan::writes;

void Lowering::Sizes::measure(const Tables& tables, const routing::Chunks& chunks,
                              const routing::CountsView& counts) {
    const routing::BlockShape& block = tables.block;
    const std::int64_t n = chunks.size();
    const std::int64_t num_ranks = block.num_ranks();
    const std::int64_t self = tables.block_rank;
    const bool per_chunk = tables.per_chunk;
    const routing::CountField out = routing::out_field(tables.setup.schedule.dedup);
    const routing::CountField home = routing::home_field(per_chunk);
    const Range mine = tables.shards.experts;
    const auto sum = [&](std::int64_t source, Range experts, routing::CountField field) {
        std::int64_t total = 0;
        for (std::int64_t e = experts.begin; e < experts.end; ++e) total += counts.at(source, e, field);
        return total;
    };

    sent_begin.clear();
    came_begin.assign(at(n * num_ranks + 1), 0);
    std::int64_t sent = 0;
    for (std::int64_t p = 0; p < block.num_parts; ++p) {
        for (std::int64_t c = 0; c < n; ++c) {
            const Range chunk = chunks.of(p, c);
            sent_begin.push_back(sent);
            sent += sum(self, chunk, out);
            const std::int64_t sums = sum(self, chunk, home);
            for (std::int64_t shard = 0; shard < block.num_shards; ++shard)
                came_begin[at(c * num_ranks + p * block.num_shards + shard + 1)] = sums;
        }
    }
    sent_begin.push_back(sent);
    for (std::size_t i = 1; i < came_begin.size(); ++i) came_begin[i] += came_begin[i - 1];

    arrived_begin.clear();
    going_begin.clear();
    slots_begin.assign(at(num_ranks + 1), 0);
    std::int64_t arrived = 0, going = 0;
    for (std::int64_t c = 0; c < n; ++c) {
        const Range chunk = chunks.of(tables.position.ep, c);
        for (std::int64_t s = 0; s < num_ranks; ++s) {
            const std::int64_t rows = sum(s, chunk, out);
            arrived_begin.push_back(arrived);
            going_begin.push_back(going);
            arrived += rows;
            going += sum(s, chunk, home);
            slots_begin[at(s + 1)] += rows;
        }
    }
    arrived_begin.push_back(arrived);
    going_begin.push_back(going);
    for (std::size_t i = 1; i < slots_begin.size(); ++i) slots_begin[i] += slots_begin[i - 1];

    expert_begin.assign(1, 0);
    for (std::int64_t e = mine.begin; e < mine.end; ++e) {
        std::int64_t rows = 0;
        for (std::int64_t s = 0; s < num_ranks; ++s) rows += counts.at(s, e, routing::kRows);
        expert_begin.push_back(expert_begin.back() + rows);
    }
    num_entries = expert_begin.back();
}

void Lowering::experts(const MicroBatchTables& batch, std::int64_t layer, const routing::CountsView& counts,
                       const Begun& begun) {
    const WorkBuffers& work = tables_.buffers;
    choose_chunks(counts);
    const std::int64_t n = chunks().size();
    counts_buffer_ = tables_.setup.schedule.oracle ? batch.known_counts[at(layer)] : work.all_counts;
    sizes_.measure(tables_, chunks(), counts);
    builder_.set_serial(!tables_.setup.schedule.overlap);

    dispatch_slots(batch, counts);
    if (begun) begun();
    for (std::int64_t chunk = 0; chunk < n; ++chunk) {
        dispatch_chunk(batch, chunk);
        compute_chunk(layer, chunk);
        combine_chunk(chunk);
    }

    const Range rows{0, batch.owned.size()};
    const Slice starts{work.home_starts, {0, rows.end + 1}},
        index{work.home_index, {0, sizes_.came_begin.back()}};
    const Slice ids{work.topk_ids, rows}, came{work.came_home, {0, sizes_.came_begin.back()}};
    const BufferId shared = tables_.spec().n_shared_experts > 0 ? work.shared_out : kNoBuffer;
    const Slice out = owned_hidden(batch);
    builder_.add(tables_.lanes.dispatch,
                 plan::MapHome{ids, starts.buffer, index.buffer, chunk_bounds_numbers_, tables_.per_chunk},
                 {reads(ids), writes(starts), writes(index)});
    builder_.add(tables_.lanes.compute,
                 plan::UnpackSum{came.buffer, starts.buffer, index.buffer, shared, true, out},
                 {reads(came), reads(starts), reads(index), reads({shared, rows}), reads(out), writes(out)});
    builder_.set_serial(false);
}

cost::ExpertLayer expert_layer(const Tables& tables) {
    const model::ModelSpec& spec = tables.spec();
    const Schedule& schedule = tables.setup.schedule;
    const std::int64_t num_shards = tables.block.num_shards;
    cost::ExpertLayer layer{
        .block = tables.block,
        .hidden = spec.hidden_size,
        .width = (spec.moe_intermediate_size + num_shards - 1) / num_shards,
        .shared_width = spec.n_shared_experts > 0 ? spec.shared_intermediate_size() : 0,
        .dtype = tables.setup.dtype,
        .dedup = schedule.dedup,
        .gemm = {},
        .link = tables.setup.link,
        .transport = name_of(schedule.transport),
    };
    if (schedule.gemm == GemmChoice::group) layer.gemm = plan::GemmKind::group;
    if (schedule.gemm == GemmChoice::dense) layer.gemm = plan::GemmKind::dense;
    return layer;
}

Lowering::Lowering(const Tables& tables, plan::PlanBuilder& builder) : tables_(tables), builder_(builder) {
    const PassSetup& setup = tables.setup;
    const bool chooses = tables.chunks_by_load || setup.schedule.gemm == GemmChoice::automatic;
    if (setup.times != nullptr && chooses) chooser_.emplace(*setup.times, expert_layer(tables));
}

// The same on all ranks of the block: a pure function of what they all know.
void Lowering::choose_chunks(const routing::CountsView& counts) {
    if (tables_.chunks_by_load) {
        chooser_->choose(counts, chunk_bounds_);
    } else {
        routing::divide_evenly(tables_.block, tables_.num_chunks, chunk_bounds_);
    }
    chunk_bounds_numbers_.begin = builder_.mark_numbers();
    for (const std::int64_t bound : chunk_bounds_) builder_.number(bound);
    chunk_bounds_numbers_.end = builder_.mark_numbers();
}

void Lowering::dispatch_slots(const MicroBatchTables& batch, const routing::CountsView& counts) {
    const WorkBuffers& work = tables_.buffers;
    const routing::BlockShape& block = tables_.block;
    const std::int64_t n = chunks().size();
    const plan::LaneId lane = tables_.lanes.dispatch;
    const auto first_send = builder_.mark_transfers();
    for (std::int64_t rank = 0; rank < block.num_ranks(); ++rank) {
        const std::int64_t part = rank / block.num_shards;
        builder_.transfer(rank, {sizes_.sent_begin[at(part * n)], sizes_.sent_begin[at((part + 1) * n)]});
    }
    const auto first_receive = builder_.mark_transfers();
    for (std::int64_t s = 0; s < block.num_ranks(); ++s)
        builder_.transfer(s, {sizes_.slots_begin[at(s)], sizes_.slots_begin[at(s + 1)]});
    const Slice sent{work.sent_slots, {0, sizes_.sent_begin.back()}},
        arrived{work.arrived_slots, {0, sizes_.slots_begin.back()}};
    builder_.add(lane,
                 plan::AllToAll{plan::Group::block,
                                sent.buffer,
                                arrived.buffer,
                                {first_send, first_receive},
                                {first_receive, builder_.mark_transfers()}},
                 {reads(sent), writes(arrived)});

    const Range rows{0, batch.owned.size()};
    const Slice all_counts{counts_buffer_, {0, counts.num_sources * counts.num_experts}};
    const Slice order{work.expert_order, {0, sizes_.expert_begin.back()}};
    const Slice starts{work.reduce_starts, {0, sizes_.going_begin.back() + 1}};
    const Slice index{work.reduce_index, {0, sizes_.num_entries}},
        weights{work.reduce_weights, {0, sizes_.num_entries}};
    builder_.add(
        lane,
        plan::MapRows{arrived,
                      {work.topk_ids, rows},
                      {work.topk_weights, rows},
                      counts_buffer_,
                      order.buffer,
                      starts.buffer,
                      index.buffer,
                      weights.buffer,
                      chunk_bounds_numbers_,
                      tables_.setup.schedule.dedup,
                      tables_.per_chunk},
        {reads(arrived), reads(all_counts), writes(order), writes(starts), writes(index), writes(weights)});
}

void Lowering::dispatch_chunk(const MicroBatchTables& batch, std::int64_t chunk) {
    const WorkBuffers& work = tables_.buffers;
    const routing::BlockShape& block = tables_.block;
    const std::int64_t n = chunks().size();
    const plan::LaneId lane = tables_.lanes.dispatch;

    const plan::Stay stay = stay_of_dispatch(chunk);
    const auto first_range = builder_.mark_numbers();
    std::int64_t num_rows = 0;
    for (std::int64_t part = 0; part < block.num_parts; ++part) {
        const Range rows{sizes_.sent_begin[at(part * n + chunk)],
                         sizes_.sent_begin[at(part * n + chunk + 1)]};
        builder_.number(rows.begin);
        builder_.number(rows.end);
        num_rows += rows.size();
    }
    // All of it in one use, although a chunk's rows lie scattered by part: no other lane touches `outgoing`.
    const Slice outgoing{num_rows > 0 ? work.outgoing : kNoBuffer, {0, sizes_.sent_begin.back()}};
    if (num_rows > 0)
        builder_.add(
            lane,
            plan::PackRows{
                work.normed, work.send_order, work.outgoing, {first_range, builder_.mark_numbers()}, stay},
            {reads({work.send_order, outgoing.rows}), reads({work.normed, {0, batch.owned.size()}}),
             writes(outgoing), writes(stay.to)});

    const auto first_send = builder_.mark_transfers();
    for (std::int64_t rank = 0; rank < block.num_ranks(); ++rank) {
        const std::int64_t part = rank / block.num_shards;
        if (!stays(rank))
            builder_.transfer(
                rank, {sizes_.sent_begin[at(part * n + chunk)], sizes_.sent_begin[at(part * n + chunk + 1)]});
    }
    const auto first_receive = builder_.mark_transfers();
    for (std::int64_t s = 0; s < block.num_ranks(); ++s) {
        const std::int64_t i = chunk * block.num_ranks() + s;
        if (!stays(s)) builder_.transfer(s, {sizes_.arrived_begin[at(i)], sizes_.arrived_begin[at(i + 1)]});
    }
    const Range arrived{sizes_.arrived_begin[at(chunk * block.num_ranks())],
                        sizes_.arrived_begin[at((chunk + 1) * block.num_ranks())]};
    builder_.add(lane,
                 plan::AllToAll{plan::Group::block,
                                work.outgoing,
                                work.arrived,
                                {first_send, first_receive},
                                {first_receive, builder_.mark_transfers()}},
                 {reads(outgoing), writes({work.arrived, arrived})});
}

plan::GemmKind Lowering::kind_of(std::span<const std::int64_t> offsets) {
    switch (tables_.setup.schedule.gemm) {
        case GemmChoice::group:
            return plan::GemmKind::group;
        case GemmChoice::dense:
            return plan::GemmKind::dense;
        case GemmChoice::automatic:
            return chooser_ ? chooser_->kind_of(offsets)
                            : cost::paper_gemm(offsets.back() - offsets.front(), std::ssize(offsets) - 1);
    }
    throw Error(Exit::internal, "unknown choice of GEMM");
}

void Lowering::expert_gemms(std::int64_t layer, Range experts, const std::int64_t* offsets) {
    const WorkBuffers& work = tables_.buffers;
    const plan::LaneId compute = tables_.lanes.compute;
    const Range rows{offsets[0], offsets[experts.size()]};
    if (rows.empty()) return;
    const BufferId gate_up = tables_.weight(layer, WeightRole::expert_gate_up),
                   down = tables_.weight(layer, WeightRole::expert_down);
    if (gate_up == kNoBuffer) {  // an etp shard without columns
        builder_.add(compute, plan::Clear{{work.expert_out, rows}}, {writes({work.expert_out, rows})});
        return;
    }
    const plan::GemmKind kind = kind_of({offsets, at(experts.size() + 1)});
    const auto first = builder_.mark_numbers();
    for (std::int64_t i = 0; i <= experts.size(); ++i) builder_.number(offsets[i]);
    const Range offset_numbers{first, builder_.mark_numbers()};
    const auto gemm = [&](BufferId in, BufferId weight, BufferId out, plan::ExpertWeight which) {
        const std::int64_t weight_rows =
            builder_.plan().buffers[at(weight)].rows / tables_.shards.experts.size();
        builder_.add(
            compute, plan::ExpertGemm{in, weight, out, experts, offset_numbers, kind, which},
            {reads({in, rows}), reads({weight, {experts.begin * weight_rows, experts.end * weight_rows}}),
             writes({out, rows})});
    };
    gemm(work.expert_in, gate_up, work.expert_up, plan::ExpertWeight::gate_up);
    swiglu({work.expert_up, rows}, {work.expert_act, rows});
    gemm(work.expert_act, down, work.expert_out, plan::ExpertWeight::down);
}

void Lowering::compute_chunk(std::int64_t layer, std::int64_t chunk) {
    const WorkBuffers& work = tables_.buffers;
    const plan::LaneId compute = tables_.lanes.compute;
    const std::int64_t num_ranks = tables_.block.num_ranks();
    const std::int64_t first = tables_.shards.experts.begin;
    const Range of_block = chunks().of(tables_.position.ep, chunk);
    const Range experts{of_block.begin - first, of_block.end - first};  // of this rank
    const Range rows{sizes_.expert_begin[at(experts.begin)], sizes_.expert_begin[at(experts.end)]};
    // With dedup a row may have come with an earlier chunk; what is reduced may have been computed with one.
    const Range arrived{0, sizes_.arrived_begin[at((chunk + 1) * num_ranks)]};
    const Range computed{0, rows.end};
    const Range sums{sizes_.going_begin[at(chunk * num_ranks)],
                     sizes_.going_begin[at((chunk + 1) * num_ranks)]};

    if (!rows.empty()) {
        const auto ends = builder_.mark_numbers();
        builder_.number(rows.begin);
        builder_.number(rows.end);
        builder_.add(compute,
                     plan::PackRows{work.arrived, work.expert_order, work.expert_in, {ends, ends + 2}},
                     {reads({work.expert_order, rows}), reads({work.arrived, arrived}),
                      writes({work.expert_in, rows})});
        expert_gemms(layer, experts, sizes_.expert_begin.data() + experts.begin);
    }
    if (sums.empty()) return;
    const Slice out{work.going_home, sums};
    const plan::Stay stay = stay_of_combine(chunk);
    builder_.add(compute,
                 plan::LocalReduce{work.expert_out, work.reduce_starts, work.reduce_index,
                                   work.reduce_weights, out, stay},
                 {reads({work.expert_out, computed}), reads({work.reduce_starts, {sums.begin, sums.end + 1}}),
                  reads({work.reduce_index, {0, sizes_.num_entries}}),
                  reads({work.reduce_weights, {0, sizes_.num_entries}}), writes(out), writes(stay.to)});
}

// A rank's own rows go where they would have been received, unless other shards of its experts need them too.
bool Lowering::stays(std::int64_t rank) const {
    return rank == tables_.block_rank && tables_.block.num_shards == 1;
}

plan::Stay Lowering::stay_of_dispatch(std::int64_t chunk) const {
    const std::int64_t self = tables_.block_rank;
    if (!stays(self)) return {};
    const auto sent = sizes_.sent_begin.begin() + self * chunks().size() + chunk;
    const auto arrived = sizes_.arrived_begin.begin() + chunk * tables_.block.num_ranks() + self;
    return {{sent[0], sent[1]}, {tables_.buffers.arrived, {arrived[0], arrived[1]}}};
}

plan::Stay Lowering::stay_of_combine(std::int64_t chunk) const {
    const std::int64_t self = tables_.block_rank;
    if (!stays(self)) return {};
    const std::int64_t i = chunk * tables_.block.num_ranks() + self;
    const auto going = sizes_.going_begin.begin() + i, came = sizes_.came_begin.begin() + i;
    return {{going[0], going[1]}, {tables_.buffers.came_home, {came[0], came[1]}}};
}

void Lowering::combine_chunk(std::int64_t chunk) {
    const WorkBuffers& work = tables_.buffers;
    const std::int64_t num_ranks = tables_.block.num_ranks();
    const auto part = [&](const std::vector<std::int64_t>& begin, std::int64_t rank) {
        const std::int64_t i = chunk * num_ranks + rank;
        return Range{begin[at(i)], begin[at(i + 1)]};
    };
    const auto first_send = builder_.mark_transfers();
    for (std::int64_t s = 0; s < num_ranks; ++s)
        if (!stays(s)) builder_.transfer(s, part(sizes_.going_begin, s));
    const auto first_receive = builder_.mark_transfers();
    for (std::int64_t rank = 0; rank < num_ranks; ++rank)
        if (!stays(rank)) builder_.transfer(rank, part(sizes_.came_begin, rank));
    const Range going{part(sizes_.going_begin, 0).begin, part(sizes_.going_begin, num_ranks - 1).end};
    const Range came{part(sizes_.came_begin, 0).begin, part(sizes_.came_begin, num_ranks - 1).end};
    builder_.add(tables_.lanes.combine,
                 plan::AllToAll{plan::Group::block,
                                work.going_home,
                                work.came_home,
                                {first_send, first_receive},
                                {first_receive, builder_.mark_transfers()}},
                 {reads({work.going_home, going}), writes({work.came_home, came})});
}

// No row travels: this rank computes its shard of every expert for its own rows.
void Lowering::experts_at_home(const MicroBatchTables& batch, std::int64_t layer,
                               const routing::CountsView& counts) {
    const WorkBuffers& work = tables_.buffers;
    const plan::LaneId compute = tables_.lanes.compute;
    const Range rows{0, batch.owned.size()};
    if (rows.empty()) return;
    const Range slots{0, rows.size() * tables_.block.top_k};
    sizes_.expert_begin.assign(1, 0);
    for (std::int64_t e = 0; e < counts.num_experts; ++e)
        sizes_.expert_begin.push_back(sizes_.expert_begin.back() + counts.at(0, e, routing::kRows));

    const Slice ids{work.topk_ids, rows}, weights{work.topk_weights, rows};
    const Slice starts{work.reduce_starts, {0, rows.size() + 1}};
    builder_.add(compute,
                 plan::MapRows{{kNoBuffer, {}},
                               ids,
                               weights,
                               kNoBuffer,
                               work.expert_order,
                               work.reduce_starts,
                               work.reduce_index,
                               work.reduce_weights,
                               {},
                               true,
                               false},
                 {reads(ids), reads(weights), writes({work.expert_order, slots}), writes(starts),
                  writes({work.reduce_index, slots}), writes({work.reduce_weights, slots})});
    const auto first = builder_.mark_numbers();
    builder_.number(slots.begin);
    builder_.number(slots.end);
    builder_.add(
        compute, plan::PackRows{work.normed, work.expert_order, work.expert_in, {first, first + 2}},
        {reads({work.expert_order, slots}), reads({work.normed, rows}), writes({work.expert_in, slots})});
    expert_gemms(layer, {0, counts.num_experts}, sizes_.expert_begin.data());

    const Slice sums{work.going_home, rows};
    builder_.add(
        compute,
        plan::LocalReduce{work.expert_out, work.reduce_starts, work.reduce_index, work.reduce_weights, sums},
        {reads({work.expert_out, slots}), reads(starts), reads({work.reduce_index, slots}),
         reads({work.reduce_weights, slots}), writes(sums)});
    const bool whole = tables_.setup.placement.attention_tp == 1;  // nothing to add from other ranks
    const BufferId shared = tables_.spec().n_shared_experts > 0 ? work.shared_out : kNoBuffer;
    const Slice out = whole ? owned_hidden(batch) : Slice{work.mlp_out, rows};
    uses_.assign({reads(sums), reads({shared, rows}), writes(out)});
    if (whole) uses_.push_back(reads(out));
    builder_.add(compute, plan::UnpackSum{work.going_home, kNoBuffer, kNoBuffer, shared, whole, out}, uses_);
    if (!whole) add_sum_over_tp(work.mlp_out, batch);
}

}  // namespace eps::schedule
