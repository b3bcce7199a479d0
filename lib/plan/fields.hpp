// The fields of every op and what the op does to the rows they name, written down once: printing, hashing and
// checking all go through here.
//
// for_each_field(op, v) calls, for each field in the struct's order, one of
//   v.slice(name, slice, access)            all rows of the slice; the buffer may be kNoBuffer
//   v.buffer(name, buffer, access)          rows that data decide; the buffer may be kNoBuffer
//   v.rows(name, numbers, buffer, access)   the rows in pairs of begin and end at `numbers`
//   v.steps(name, numbers, buffer, access)  the rows from the first to the last of the numbers
//   v.sends(name, transfers, buffer), v.receives(name, transfers, buffer)
//   v.numbers(name, numbers)                a list that names no rows
//   v.value(name, value)                    anything else: integer, bool, enum, double or Range
// A field that is read and written is named twice.
#pragma once

#include "plan/plan.hpp"

#include <concepts>
#include <variant>

namespace eps::plan {

/// What a visitor does with fields that it does not care about.
struct IgnoredFields {
    void slice(const char*, Slice, Access) const {}
    void buffer(const char*, BufferId, Access) const {}
    void rows(const char*, Range, BufferId, Access) const {}
    void steps(const char*, Range, BufferId, Access) const {}
    void sends(const char*, Range, BufferId) const {}
    void receives(const char*, Range, BufferId) const {}
    void numbers(const char*, Range) const {}
    template <typename T>
    void value(const char*, T) const {}
};

template <typename V>
void for_each_field(const Embed& op, V&& v) {
    v.slice("ids", op.ids, Access::read);
    v.buffer("table", op.table, Access::read);
    v.slice("out", op.out, Access::write);
}

template <typename V>
void for_each_field(const RmsNorm& op, V&& v) {
    v.slice("in", op.in, Access::read);
    v.buffer("weight", op.weight, Access::read);
    v.slice("out", op.out, Access::write);
    v.value("eps", op.eps);
}

template <typename V>
void for_each_field(const Linear& op, V&& v) {
    v.slice("in", op.in, Access::read);
    v.buffer("weight", op.weight, Access::read);
    v.buffer("bias", op.bias, Access::read);
    v.slice("out", op.out, Access::write);
}

template <typename V>
void for_each_field(const Rope& op, V&& v) {
    v.slice("x", op.x, Access::read);
    v.slice("x", op.x, Access::write);
    v.slice("positions", Slice{op.positions, op.x.rows}, Access::read);
    v.value("num_heads", op.num_heads);
    v.value("head_stride", op.head_stride);
    v.value("offset", op.offset);
}

template <typename V>
void for_each_field(const Attention& op, V&& v) {
    v.slice("q", op.q, Access::read);
    v.slice("kv", op.kv, Access::read);
    v.slice("kv_a", op.kv_a, Access::read);
    v.slice("out", op.out, Access::write);
    v.numbers("starts", op.starts);
}

template <typename V>
void for_each_field(const Add& op, V&& v) {
    v.slice("in", op.in, Access::read);
    v.slice("out", op.out, Access::read);
    v.slice("out", op.out, Access::write);
}

template <typename V>
void for_each_field(const Clear& op, V&& v) {
    v.slice("out", op.out, Access::write);
}

template <typename V>
void for_each_field(const Gate& op, V&& v) {
    v.slice("in", op.in, Access::read);
    v.buffer("weight", op.weight, Access::read);
    v.slice("ids", op.ids, Access::write);
    v.slice("weights", op.weights, Access::write);
    v.slice("forced", Slice{op.forced, {0, op.ids.rows.size()}}, Access::read);
}

template <typename V>
void for_each_field(const Route& op, V&& v) {
    v.slice("ids", op.ids, Access::read);
    v.slice("weights", op.weights, Access::read);
    v.slice("counts", op.counts, Access::write);
    v.buffer("send_order", op.send_order, Access::write);
    v.buffer("sent_slots", op.sent_slots, Access::write);
    v.value("chunks", op.chunks);
    v.value("dedup", op.dedup);
}

template <typename V>
void for_each_field(const ExchangeCounts& op, V&& v) {
    v.slice("counts", op.counts, Access::read);
    v.slice("all_counts", op.all_counts, Access::write);
}

template <typename V>
void for_each_field(const AllToAll& op, V&& v) {
    v.value("group", op.group);
    v.sends("sends", op.sends, op.in);
    v.receives("receives", op.receives, op.out);
}

template <typename V>
void for_each_field(const MapRows& op, V&& v) {
    const bool travelled = op.arrived_slots.buffer != kNoBuffer;
    v.slice("arrived_slots", op.arrived_slots, Access::read);
    v.slice("ids", travelled ? Slice{} : op.ids, Access::read);
    v.slice("weights", travelled ? Slice{} : op.weights, Access::read);
    v.buffer("all_counts", op.all_counts, Access::read);
    v.buffer("expert_order", op.expert_order, Access::write);
    v.buffer("reduce_starts", op.reduce_starts, Access::write);
    v.buffer("reduce_index", op.reduce_index, Access::write);
    v.buffer("reduce_weights", op.reduce_weights, Access::write);
    v.numbers("chunk_bounds", op.chunk_bounds);
    v.value("dedup", op.dedup);
    v.value("per_chunk", op.per_chunk);
}

template <typename V>
void for_each_field(const MapHome& op, V&& v) {
    v.slice("ids", op.ids, Access::read);
    v.slice("starts", Slice{op.starts, {0, op.ids.rows.size() + 1}}, Access::write);
    v.buffer("index", op.index, Access::write);
    v.numbers("chunk_bounds", op.chunk_bounds);
    v.value("per_chunk", op.per_chunk);
}

template <typename V>
void for_each_field(const Stay& stay, V&& v) {
    if (stay.to.buffer == kNoBuffer) return;
    v.value("staying", stay.rows);
    v.slice("stay", stay.to, Access::write);
}

template <typename V>
void for_each_field(const PackRows& op, V&& v) {
    v.buffer("in", op.in, Access::read);
    v.rows("index", op.ranges, op.index, Access::read);
    v.rows("out", op.ranges, op.out, Access::write);
    for_each_field(op.stay, v);
}

template <typename V>
void for_each_field(const ExpertGemm& op, V&& v) {
    v.steps("in", op.offsets, op.in, Access::read);
    v.buffer("weight", op.weight, Access::read);
    v.steps("out", op.offsets, op.out, Access::write);
    v.value("experts", op.experts);
    v.value("kind", op.kind);
    v.value("which", op.which);
}

template <typename V>
void for_each_field(const Swiglu& op, V&& v) {
    v.slice("in", op.in, Access::read);
    v.slice("out", op.out, Access::write);
}

template <typename V>
void for_each_field(const LocalReduce& op, V&& v) {
    v.buffer("in", op.in, Access::read);
    v.slice("starts", Slice{op.starts, {op.out.rows.begin, op.out.rows.end + 1}}, Access::read);
    v.buffer("index", op.index, Access::read);
    v.buffer("weights", op.weights, Access::read);
    v.slice("out", op.out, Access::write);
    for_each_field(op.stay, v);
}

template <typename V>
void for_each_field(const UnpackSum& op, V&& v) {
    const Range rows{0, op.out.rows.size()};
    v.buffer("in", op.in, Access::read);
    v.slice("starts", Slice{op.starts, {0, rows.end + 1}}, Access::read);
    v.buffer("index", op.index, Access::read);
    v.slice("shared", Slice{op.shared, rows}, Access::read);
    v.value("residual", op.residual);
    if (op.residual) v.slice("out", op.out, Access::read);
    v.slice("out", op.out, Access::write);
}

template <typename V>
void for_each_field(const ReduceScatter& op, V&& v) {
    v.value("group", op.group);
    v.sends("sends", op.sends, op.in);
    v.receives("receives", op.receives, op.scratch);
    v.value("self", op.self);
    v.slice("own_rows", Slice{op.in, op.own_rows}, Access::read);
    v.slice("out", op.out, Access::write);
}

template <typename V>
void for_each_field(const AllGather& op, V&& v) {
    v.value("group", op.group);
    v.sends("sends", op.sends, op.buffer);
    v.receives("receives", op.receives, op.buffer);
}

template <typename V>
void for_each_field(const Send& op, V&& v) {
    v.value("peer", op.peer);
    v.slice("rows", op.rows, Access::read);
}

template <typename V>
void for_each_field(const Receive& op, V&& v) {
    v.value("peer", op.peer);
    v.slice("rows", op.rows, Access::write);
}

/// Of whichever op it is. An op that is not named above does not compile.
template <std::same_as<OpArgs> Args, typename V>
void for_each_field(const Args& args, V&& v) {
    std::visit([&](const auto& op) { for_each_field(op, v); }, args);
}

}  // namespace eps::plan
