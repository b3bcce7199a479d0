// The ops: every unit of work a rank can do, as data. A new op is one struct here and one overload in each
// executor (visited without a default case, so that nothing compiles until every executor knows it).
//
// Ops name buffers and row ranges, never pointers. Lists (sequence starts, transfers, row offsets) lie in the
// plan's flat arrays; an op holds the range of its part.
#pragma once

#include "base/range.hpp"

#include <cstdint>
#include <string_view>
#include <variant>

namespace eps::plan {

using OpId = std::int32_t;
using LaneId = std::int32_t;
using BufferId = std::int32_t;
constexpr BufferId kNoBuffer = -1;

/// Which ranks an exchange is among; peers are numbered inside the group.
enum class Group : std::uint8_t {
    tp,     // the attention-tp ranks that hold the same tokens
    block,  // the ep x etp ranks among which rows travel to the experts
    world,  // everybody (pipeline stages talk across)
};

enum class GemmKind : std::uint8_t { group, dense };

/// Rows of a buffer.
struct Slice {
    BufferId buffer = kNoBuffer;
    Range rows;
};

/// Rows that stay on their rank: what an op makes as rows `rows` of its `out` goes to `to` instead, row for
/// row, and does not travel.
struct Stay {
    Range rows;
    Slice to;  // kNoBuffer: none stay
};

/// in[ids] of the embedding table.
struct Embed {
    Slice ids;
    BufferId table;
    Slice out;
};

/// RMSNorm over the first columns of `in`, as many as `out` has.
struct RmsNorm {
    Slice in;
    BufferId weight;
    Slice out;
    double eps;
};

/// out = in W^T (+ bias): a DenseGemm.
struct Linear {
    Slice in;
    BufferId weight;
    BufferId bias;  // kNoBuffer: none
    Slice out;
};

/// Rotates the rope part of every head in place.
struct Rope {
    Slice x;
    BufferId positions;  // one per row, same row numbers as x
    std::int64_t num_heads;
    std::int64_t head_stride;
    std::int64_t offset;
};

/// Causal MLA attention; `k_rope` is the last columns of kv_a. `starts`: first row of each sequence and the
/// end.
struct Attention {
    Slice q, kv, kv_a, out;
    Range starts;  // in RankPlan::numbers
};

/// out += in (the residual).
struct Add {
    Slice in, out;
};

/// All rows become zero: the contribution of a rank that holds no shard.
struct Clear {
    Slice out;
};

/// Router logits, softmax, top-k. `forced`: ids are given, only their weights are computed.
struct Gate {
    Slice in;
    BufferId weight;
    Slice ids, weights;
    BufferId forced;  // [rows, top_k] ids, or kNoBuffer
};

/// The histograms of this rank's choices, the order in which its rows travel, and the slots that travel with
/// each row.
struct Route {
    Slice ids, weights;
    Slice counts;  // out: [experts, num_count_fields]
    BufferId
        send_order;  // out: row of each row that is sent, by destination, then first local expert, then token
    BufferId sent_slots;  // out: what travels with each of them (routing/row_maps.hpp)
    std::int64_t chunks;  // for Combine::per_chunk: the chunks of the experts, else 0
    bool dedup;
};

/// All-gather of the histograms in the block.
struct ExchangeCounts {
    Slice counts, all_counts;
};

/// Messages between ranks of a group: rows of `in` out, rows into `out`. Each part lies in
/// RankPlan::transfers.
struct AllToAll {
    Group group;
    BufferId in, out;
    Range sends, receives;
};

/// From what arrived: rows in expert order, and the sums that go home.
struct MapRows {
    Slice
        arrived_slots;  // kNoBuffer: nothing travelled, `ids` and `weights` of this rank's own rows are used
    Slice ids, weights;
    BufferId all_counts;
    BufferId expert_order;                                 // out: arrived row of each expert row
    BufferId reduce_starts, reduce_index, reduce_weights;  // out: CSR over the rows that go home
    Range chunk_bounds;  // in RankPlan::numbers, see routing::Chunks; empty where nothing travelled
    bool dedup, per_chunk;
};

/// Where the rows that come home belong: CSR over this rank's rows.
struct MapHome {
    Slice ids;
    BufferId starts, index;  // out
    Range chunk_bounds;      // in RankPlan::numbers, see routing::Chunks
    bool per_chunk;
};

/// out[i] = in[index[i]] for the listed ranges of i (RankPlan::numbers, pairs of begin and end).
struct PackRows {
    BufferId in, index, out;
    Range ranges;
    Stay stay = {};
};

enum class ExpertWeight : std::uint8_t { gate_up, down };

/// One GEMM per local expert in `experts`. `offsets`: experts.size() + 1 row numbers, the same in `in` and
/// `out`.
struct ExpertGemm {
    BufferId in, weight, out;
    Range experts;
    Range offsets;  // in RankPlan::numbers
    GemmKind kind;
    ExpertWeight which;
};

/// silu(gate) * up.
struct Swiglu {
    Slice in, out;
};

/// LocalReduce: f32 sum of weight * y over this rank's slots of a token, ascending slot, one rounding.
struct LocalReduce {
    BufferId in, starts, index, weights;
    Slice out;
    Stay stay = {};
};

/// At home: partial sums by ascending source rank, then shared experts, then the residual; f32, one rounding.
struct UnpackSum {
    BufferId in, starts, index;  // starts, index kNoBuffer: row i of `in` is the one partial sum of row i
    BufferId shared;             // kNoBuffer: none; row i belongs to row i of out
    bool residual;               // out is read and added
    Slice out;
};

/// Every rank gets the sum of its own rows, over the group in rank order: exchange, f32 sum, one rounding.
struct ReduceScatter {
    Group group;
    BufferId in, scratch;
    Range sends, receives;  // transfers: of `in`, into `scratch`
    std::int64_t self;      // this rank's place in the group; its part is read from `in` itself
    Range own_rows;         // of `in`
    Slice out;
};

/// Every rank gets everybody's rows, in place.
struct AllGather {
    Group group;
    BufferId buffer;
    Range sends, receives;
};

struct Send {
    std::int64_t peer;  // world rank
    Slice rows;
};

struct Receive {
    std::int64_t peer;
    Slice rows;
};

using OpArgs = std::variant<Embed, RmsNorm, Linear, Rope, Attention, Add, Clear, Gate, Route, ExchangeCounts,
                            AllToAll, MapRows, MapHome, PackRows, ExpertGemm, Swiglu, LocalReduce, UnpackSum,
                            ReduceScatter, AllGather, Send, Receive>;

/// Full words, as they appear in plans, timelines and reports; the order of OpArgs.
inline constexpr std::string_view kOpNames[] = {
    "embed",       "rms_norm", "linear",          "rope",       "attention",      "add",        "clear",
    "gate",        "route",    "exchange_counts", "all_to_all", "map_rows",       "map_home",   "pack_rows",
    "expert_gemm", "swiglu",   "local_reduce",    "unpack_sum", "reduce_scatter", "all_gather", "send",
    "receive"};
static_assert(std::size(kOpNames) == std::variant_size_v<OpArgs>);

inline std::string_view name_of(const OpArgs& args) {
    return kOpNames[args.index()];
}

}  // namespace eps::plan
