// Pieces of lowering that several segments share, and the dispatch on the kind of segment.
#include "base/error.hpp"
#include "schedule/lowering.hpp"

#include <algorithm>

namespace eps::schedule {

using plan::BufferId;
using plan::kNoBuffer;
using plan::reads;
using plan::SegmentKind;
using plan::Slice;
using plan::writes;

void Lowering::lower(const plan::Segment& segment, const routing::CountsView& counts, const Begun& begun) {
    builder_.begin_segment(segment);
    const MicroBatchTables& batch = tables_.micro_batches[static_cast<std::size_t>(segment.micro_batch)];
    switch (segment.kind) {
        case SegmentKind::stage_in:
            return stage_in(batch);
        case SegmentKind::embed:
            return embed(batch);
        case SegmentKind::attention:
            return attention(batch, segment.layer);
        case SegmentKind::dense:
            return dense(batch, segment.layer);
        case SegmentKind::gate:
            return gate(batch, segment.layer);
        case SegmentKind::experts:
            return tables_.replicated ? experts_at_home(batch, segment.layer, counts)
                                      : experts(batch, segment.layer, counts, begun);
        case SegmentKind::head:
            return head(batch);
        case SegmentKind::stage_out:
            return stage_out(batch);
    }
    throw Error(Exit::internal, "unknown segment");
}

std::int64_t Lowering::most_entries() const {
    std::int64_t most_sequences = 0;
    for (const MicroBatchTables& batch : tables_.micro_batches)
        most_sequences = std::max(most_sequences, batch.num_sequences());
    const std::int64_t per_chunk =
        32 + 4 * std::max(tables_.block.num_ranks(), tables_.setup.placement.attention_tp);
    return 128 + tables_.num_chunks * per_chunk + tables_.block.num_parts + tables_.block.num_experts +
           most_sequences;
}

void Lowering::norm(Slice in, BufferId weight, Slice out, double eps) {
    if (out.rows.empty()) return;
    builder_.add(tables_.lanes.compute, plan::RmsNorm{in, weight, out, eps},
                 {reads(in), reads({weight, {0, 1}}), writes(out)});
}

void Lowering::linear(Slice in, BufferId weight, BufferId bias, Slice out) {
    if (out.rows.empty()) return;
    const std::int64_t weight_rows = builder_.plan().buffers[static_cast<std::size_t>(weight)].rows;
    builder_.add(tables_.lanes.compute, plan::Linear{in, weight, bias, out},
                 {reads(in), reads({weight, {0, weight_rows}}), reads({bias, {0, 1}}), writes(out)});
}

void Lowering::swiglu(Slice in, Slice out) {
    builder_.add(tables_.lanes.compute, plan::Swiglu{in, out}, {reads(in), writes(out)});
}

void Lowering::mlp(Slice in, BufferId gate_up, BufferId down, BufferId up, BufferId act, Slice out) {
    if (out.rows.empty()) return;
    if (gate_up == kNoBuffer) {  // no column of the width is here
        builder_.add(tables_.lanes.compute, plan::Clear{out}, {writes(out)});
        return;
    }
    const Range rows{0, out.rows.size()};
    linear(in, gate_up, kNoBuffer, {up, rows});
    swiglu({up, rows}, {act, rows});
    linear({act, rows}, down, kNoBuffer, out);
}

void Lowering::add(Slice in, Slice out) {
    if (out.rows.empty()) return;
    builder_.add(tables_.lanes.compute, plan::Add{in, out}, {reads(in), reads(out), writes(out)});
}

void Lowering::reduce_scatter(BufferId in, const std::vector<Range>& parts, Slice out) {
    const auto self = tables_.position.tp;
    const Range own = parts[static_cast<std::size_t>(self)];
    const auto num_parts = std::ssize(parts);
    const auto first_send = builder_.mark_transfers();
    for (std::int64_t p = 0; p < num_parts; ++p)
        if (p != self) builder_.transfer(p, parts[static_cast<std::size_t>(p)]);
    const auto first_receive = builder_.mark_transfers();
    for (std::int64_t p = 0; p < num_parts; ++p)
        if (p != self) builder_.transfer(p, {p * own.size(), (p + 1) * own.size()});
    const BufferId scratch = tables_.buffers.reduce_scratch;
    builder_.add(tables_.lanes.tensor,
                 plan::ReduceScatter{plan::Group::tp,
                                     in,
                                     scratch,
                                     {first_send, first_receive},
                                     {first_receive, builder_.mark_transfers()},
                                     self,
                                     own,
                                     out},
                 {reads({in, {parts.front().begin, parts.back().end}}),
                  writes({scratch, {0, num_parts * own.size()}}), writes(out)});
}

void Lowering::all_gather(BufferId buffer, const std::vector<Range>& parts) {
    const auto self = tables_.position.tp;
    const auto num_parts = std::ssize(parts);
    const Range own = parts[static_cast<std::size_t>(self)];
    const auto first_send = builder_.mark_transfers();
    for (std::int64_t p = 0; p < num_parts; ++p)
        if (p != self) builder_.transfer(p, own);
    const auto first_receive = builder_.mark_transfers();
    for (std::int64_t p = 0; p < num_parts; ++p)
        if (p != self) builder_.transfer(p, parts[static_cast<std::size_t>(p)]);
    uses_.assign(1, reads({buffer, own}));
    for (std::int64_t p = 0; p < num_parts; ++p)
        if (p != self) uses_.push_back(writes({buffer, parts[static_cast<std::size_t>(p)]}));
    builder_.add(
        tables_.lanes.tensor,
        plan::AllGather{
            plan::Group::tp, buffer, {first_send, first_receive}, {first_receive, builder_.mark_transfers()}},
        uses_);
}

void Lowering::add_sum_over_tp(BufferId in, const MicroBatchTables& batch) {
    const Range all{0, batch.num_tokens()};
    if (tables_.setup.placement.attention_tp == 1) {
        add({in, all}, {batch.hidden, all});
        return;
    }
    const BufferId reduced = tables_.buffers.reduced;
    const Range own = batch.owned_by_tp[static_cast<std::size_t>(tables_.position.tp)];
    reduce_scatter(in, batch.owned_by_tp, {reduced, own});
    if (tables_.replicated) all_gather(reduced, batch.owned_by_tp);  // with the reduce-scatter: an all-reduce
    add({reduced, batch.owned}, owned_hidden(batch));
}

}  // namespace eps::schedule
