// Legality of plans: eight rules over the plans of all ranks for a whole pass (design section 5). They look
// at the plans as data and share no code with what made them.
//
// Each rule returns how much it looked at, so that a check of nothing shows, and throws Error(internal), or
// for R6 Error(resource), at the first offence, naming rank, lane and op. R1 goes first: the others take its
// word for every index.
#pragma once

#include "model/spec.hpp"
#include "placement/placement.hpp"
#include "plan/plan.hpp"

#include <bitset>
#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <string>
#include <variant>
#include <vector>

namespace eps::plan {

struct RankUnderCheck {
    const RankPlan* plan = nullptr;
    std::vector<Slice> given;  // rows of work buffers that are there before the pass
};

/// What a gate chose for the rows of a micro-batch.
struct GateChoices {
    std::int64_t layer = 0;
    std::int64_t micro_batch = 0;
    /// Per rank of the world: [rows that it works on, top_k], slots by descending score; nothing outside the
    /// stage that has the layer.
    std::vector<std::vector<std::int32_t>> ids;
};

using OpKinds = std::bitset<std::variant_size_v<OpArgs>>;

struct PassUnderCheck {
    const model::ModelSpec* spec = nullptr;
    placement::Placement placement;
    std::vector<RankUnderCheck> ranks;  // the whole world
    std::vector<GateChoices> gates;     // one per MoE layer of the pass and micro-batch
    std::int64_t num_tokens = 0;        // of the batch
    std::int64_t num_moe_layers = 0;    // of the pass
    std::int64_t num_chunks = 1;        // of a rank's experts, as many in each; 0: as the load asks
    bool dedup = true;                  // a token travels to a rank once, otherwise once per expert there
    bool per_chunk = false;             // comes home from a rank once per chunk, otherwise once
    std::int64_t bytes_per_rank = std::numeric_limits<std::int64_t>::max();
    OpKinds supported = OpKinds().set();  // by the executor
};

/// R1: ids are places in the plan, edges point back to another lane, every index lies inside what it names.
/// Returns the number of ops.
std::int64_t check_shape(const PassUnderCheck& pass);

/// R2: an op declares all rows that its arguments name, and what is read was written by an earlier op, or was
/// there before the pass. Returns the number of reads.
std::int64_t check_writers(const PassUnderCheck& pass);

/// R3: of two ops that touch the same rows, one of them writing, one is done before the other starts, by the
/// order of lanes and the edges. Returns the number of accesses.
std::int64_t check_order(const PassUnderCheck& pass);

/// R4: the ranks of a group issue the same collectives on each lane in the same order, what one sends another
/// receives, byte for byte, and no wait closes a circle. Returns the number of exchanges of all ranks.
std::int64_t check_exchanges(const PassUnderCheck& pass);

/// R5: every row travels to each rank that needs it once (without dedup once per expert), every expert and
/// shard of it computes every token that chose it once, and its sums come home once (or once per chunk), in
/// the fixed order. Found by following each row through the pass. Returns the number of (row, expert, shard)
/// that were computed.
std::int64_t check_rows(const PassUnderCheck& pass);

/// R6: weights, inputs and buffers of each rank fit into `bytes_per_rank`. Returns the number of buffers.
std::int64_t check_memory(const PassUnderCheck& pass);
std::int64_t predicted_bytes(const RankPlan& plan);

/// R7: the executor knows every op. Returns the number of ops.
std::int64_t check_support(const PassUnderCheck& pass);

/// R8: the experts' useful FLOPs, summed over all ranks, are the model's closed form. Returns the number of
/// expert GEMMs.
std::int64_t check_flops(const PassUnderCheck& pass);

/// All rules; returns the number of ops that were checked.
std::int64_t check_all(const PassUnderCheck& pass);

/// "rank 1, lane combine, op 57 (all_to_all; experts, layer 3)", for messages.
std::string name_op(const PassUnderCheck& pass, std::int64_t rank, const Op& op);

struct RankOp {
    std::int64_t rank = 0;
    const Op* op = nullptr;
};

/// World ranks among which the op exchanges, in the order of its group's numbers; empty for ops of one rank.
std::vector<std::int64_t> members_of(const PassUnderCheck& pass, RankOp op);

/// Runs through the pass as lanes, edges and exchanges allow: `visit` sees each op once, an op of one rank
/// alone, the ops of an exchange together (in the order of the group; the sender before the receiver). Throws
/// Error(internal) when nothing can go on, naming an op that waits.
void replay(const PassUnderCheck& pass, const std::function<void(std::span<const RankOp>)>& visit);

}  // namespace eps::plan
