// Which rank holds which weights and tokens: a placement is data, everything else follows from it (design
// section 4).
#pragma once

#include "base/range.hpp"
#include "model/spec.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace eps::placement {

/// world = pp * attention_tp * attention_dp = pp * etp * ep * edp. All factors >= 1.
struct Placement {
    std::int64_t pp = 1;
    std::int64_t attention_tp = 1;
    std::int64_t attention_dp = 1;
    std::int64_t etp = 1;  // shards of each expert (by width)
    std::int64_t ep = 1;   // parts of the list of experts
    std::int64_t edp = 1;  // copies

    std::int64_t world() const { return pp * attention_tp * attention_dp; }
    std::int64_t stage_size() const { return attention_tp * attention_dp; }

    /// Rows of a layer's second half stay replicated over the tp group, and an all-reduce (none for tp = 1)
    /// ends it. Otherwise every row has one owner, and rows travel to the experts.
    bool rows_replicated() const { return ep == 1 && etp == attention_tp; }

    friend bool operator==(const Placement&, const Placement&) = default;
};

/// Throws Error(usage) unless all factors are positive and both products are `world_size`.
void check_placement(const Placement& placement, std::int64_t world_size);

/// One line, e.g. "pp 1, attention tp 1 x dp 4, experts etp 1 x ep 4 x edp 1".
std::string to_string(const Placement& placement);

/// A rank's coordinates. Order of ranks: pp slowest, then dp, tp fastest; for experts edp, ep, etp fastest.
struct Position {
    std::int64_t rank = 0;
    std::int64_t stage = 0;
    std::int64_t stage_rank = 0;  // rank inside its stage
    std::int64_t dp = 0, tp = 0;
    std::int64_t edp = 0, ep = 0, etp = 0;
};
Position position_of(const Placement& placement, std::int64_t rank);

/// First rank (of the world) of this position's groups. A tp group is `attention_tp` consecutive ranks; an
/// expert block, the ep * etp ranks among which rows travel, likewise; an etp group is `etp` consecutive
/// ranks of a block.
std::int64_t first_rank_of_stage(const Placement& placement, const Position& position);
std::int64_t first_rank_of_tp_group(const Placement& placement, const Position& position);
std::int64_t first_rank_of_block(const Placement& placement, const Position& position);

/// What a rank holds of the model.
struct Shards {
    Range layers;        // decoder layers of its stage
    bool embedding;      // stage 0
    bool head;           // last stage
    Range heads;         // attention heads
    Range experts;       // routed experts
    Range expert_width;  // columns of moe_intermediate_size of each routed expert
    Range dense_width;   // of intermediate_size
    Range shared_width;  // of shared_intermediate_size
    Range vocabulary;    // rows of lm_head
};
Shards shards_of(const Placement& placement, const model::ModelSpec& spec, std::int64_t rank);

/// Contiguous blocks of `lengths` for `num_blocks` groups, minimising the largest sum (blocks may be empty);
/// of several such splits the one whose earlier blocks are fullest. Returns num_blocks ranges of sequence
/// indices.
std::vector<Range> balance_sequences(const std::vector<std::int64_t>& lengths, std::int64_t num_blocks);

/// Where the tokens of a batch live. Token numbers are global: sequences concatenated in batch order.
struct TokenLayout {
    struct Group {
        Range sequences;
        Range tokens;  // global token numbers
    };
    struct MicroBatch {
        Range sequences;
        std::vector<Group> groups;  // one per dp group
    };
    std::vector<std::int64_t> sequence_starts;  // batch + 1 global token numbers
    std::vector<MicroBatch> micro_batches;
};

/// Micro-batch i holds sequences [i*B/n, (i+1)*B/n), balanced over the dp groups each.
TokenLayout lay_out_tokens(const Placement& placement, const std::vector<std::int64_t>& sequence_lengths,
                           std::int64_t num_micro_batches);

/// Rows of its dp group's tokens (local numbers) that tp rank `tp` owns: part tp of attention_tp.
inline Range owned_rows(std::int64_t num_group_tokens, const Placement& placement, std::int64_t tp) {
    return part_of(num_group_tokens, placement.attention_tp, tp);
}

}  // namespace eps::placement
