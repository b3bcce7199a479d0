// Follows every row through a replayed pass: what each buffer holds, without any of the work (rule R5).
#pragma once

#include "plan/check.hpp"
#include "routing/row_maps.hpp"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace eps::plan {

enum class RowStage : std::uint8_t {
    unknown,   // nothing that experts are concerned with
    row,       // a token's row
    half,      // after an expert's first GEMM
    computed,  // after its second
    sum,       // weighted sum over some slots of a token
    zero,      // from an etp shard without columns: adds nothing, whatever token it is for
};

struct HeldRow {
    RowStage stage = RowStage::unknown;
    std::int32_t gate = -1;   // place in PassUnderCheck::gates: the layer and micro-batch
    std::int32_t owner = -1;  // rank whose token it is
    std::int32_t token = -1;  // row of that rank
    std::int32_t from = -1;   // rank that summed
    std::uint64_t slots = 0;  // of the token: bit j for slot j
};

class RowFollower {
  public:
    explicit RowFollower(const PassUnderCheck& pass);

    /// Ops that happen together, as `replay` gives them. Throws Error(internal).
    void visit(std::span<const RankOp> ops);

    /// After the pass: throws unless every row came home. Returns the number of rows that experts computed.
    std::int64_t finish() const;

  private:
    struct OneOp;  // the visitor of ops of one rank

    struct Rank {
        placement::Position position;
        std::vector<std::vector<HeldRow>> rows;       // per buffer
        std::vector<std::vector<std::int32_t>> ints;  // per buffer: ids, orders, slots, starts, indices
        std::vector<std::vector<float>> weights;      // per buffer: instead of a slot's weight, its number
    };

    // What became of one gate's rows at their owner.
    struct OfOwner {
        std::vector<std::int32_t> counts, sent_slots;  // as routed
        std::vector<std::int64_t> out, home;           // [token][block rank]: rows that travelled
        std::vector<std::uint64_t> computed;           // [token][etp shard]: slots
        std::int64_t num_summed = 0;                   // rows
    };

    // What a token has on a part of the experts.
    struct OnPart {
        std::int64_t experts = 0;
        std::int64_t chunks = 0;  // counted with per_chunk only
    };

    const RankPlan& plan(std::int64_t rank) const {
        return *pass_.ranks[static_cast<std::size_t>(rank)].plan;
    }
    [[noreturn]] void refuse(RankOp op, const std::string& problem) const;
    std::int32_t gate_of(RankOp op) const;
    std::span<const std::int32_t> ids_of(std::int32_t gate, std::int64_t rank) const;
    OnPart on_part(std::int32_t gate, std::int64_t owner, std::int64_t token, std::int64_t part) const;
    std::int64_t block_rank(std::int64_t rank) const;
    std::int64_t num_tokens(std::int32_t gate, std::int64_t rank) const;
    bool shard_has_columns(std::int64_t shard) const;
    std::size_t num_counts() const {  // of one source
        return static_cast<std::size_t>(block_.num_experts * routing::num_count_fields(pass_.per_chunk));
    }

    HeldRow get(std::int64_t rank, BufferId buffer, std::int64_t row) const;
    void set(std::int64_t rank, BufferId buffer, std::int64_t row, const HeldRow& held);
    void set_made(RankOp op, BufferId out, std::int64_t row, const Stay& stay, const HeldRow& held);
    void forget_written(RankOp op);
    void exchange(std::span<const RankOp> ops);
    void travel(RankOp op, BufferId buffer, std::int64_t row, std::int64_t to);
    std::vector<std::int32_t> slots_for(std::int32_t gate, std::int64_t rank,
                                        std::vector<std::int32_t>& counts, RankOp op) const;
    routing::Chunks chunks_of(RankOp op, Range chunk_bounds);
    void map_rows(RankOp op, const MapRows& args);
    void map_rows_at_home(RankOp op, const MapRows& args);
    void compute(RankOp op, const ExpertGemm& args);
    void reduce(RankOp op, const LocalReduce& args);
    void sum_at_home(RankOp op, const UnpackSum& args);
    void check_travel(RankOp op, std::int32_t gate, std::int64_t token) const;

    const PassUnderCheck& pass_;
    routing::BlockShape block_;
    std::vector<Rank> ranks_;
    std::vector<std::vector<OfOwner>> owners_;  // [gate][rank]
    // [gate][first rank of a block]: the chunks that its ranks agree on, once one of them has named them
    std::vector<std::vector<std::vector<std::int64_t>>> chunk_bounds_;
    std::int64_t num_computed_ = 0;
};

}  // namespace eps::plan
