#include "placement/placement.hpp"

#include "base/error.hpp"

#include <initializer_list>
#include <string_view>

#include <fmt/core.h>

namespace eps::placement {
namespace {

struct Factor {
    std::string_view name;
    std::int64_t value;
};

void check_product(std::initializer_list<Factor> factors, std::int64_t world_size) {
    std::string product_text;
    std::int64_t product = 1;
    bool beyond = false;  // known to exceed world_size; the product itself might overflow
    for (const Factor& factor : factors) {
        if (factor.value < 1)
            throw Error(Exit::usage,
                        fmt::format("{} is {}; every factor of a placement is a whole number from 1",
                                    factor.name, factor.value));
        beyond = beyond || factor.value > world_size / product;
        if (!beyond) product *= factor.value;
        product_text += fmt::format("{}{} {}", product_text.empty() ? "" : " x ", factor.name, factor.value);
    }
    if (beyond || product != world_size)
        throw Error(Exit::usage,
                    fmt::format("{} is {} ranks, but {} were started; the product must be {}", product_text,
                                beyond ? fmt::format("more than {}", world_size) : std::to_string(product),
                                world_size, world_size));
}

}  // namespace

void check_placement(const Placement& p, std::int64_t world_size) {
    check_product({{"pp", p.pp}, {"attention.tp", p.attention_tp}, {"attention.dp", p.attention_dp}},
                  world_size);
    check_product({{"pp", p.pp}, {"experts.etp", p.etp}, {"experts.ep", p.ep}, {"experts.edp", p.edp}},
                  world_size);
}

std::string to_string(const Placement& p) {
    return fmt::format("pp {}, attention tp {} x dp {}, experts etp {} x ep {} x edp {}", p.pp,
                       p.attention_tp, p.attention_dp, p.etp, p.ep, p.edp);
}

Position position_of(const Placement& p, std::int64_t rank) {
    if (rank < 0 || rank >= p.world())
        throw Error(Exit::internal, fmt::format("rank {} of a placement of {} ranks", rank, p.world()));
    Position position;
    position.rank = rank;
    position.stage = rank / p.stage_size();
    position.stage_rank = rank % p.stage_size();
    position.dp = position.stage_rank / p.attention_tp;
    position.tp = position.stage_rank % p.attention_tp;
    position.edp = position.stage_rank / (p.ep * p.etp);
    position.ep = position.stage_rank / p.etp % p.ep;
    position.etp = position.stage_rank % p.etp;
    return position;
}

std::int64_t first_rank_of_stage(const Placement& placement, const Position& position) {
    return position.stage * placement.stage_size();
}

std::int64_t first_rank_of_tp_group(const Placement& placement, const Position& position) {
    return first_rank_of_stage(placement, position) + position.dp * placement.attention_tp;
}

std::int64_t first_rank_of_block(const Placement& placement, const Position& position) {
    return first_rank_of_stage(placement, position) + position.edp * placement.ep * placement.etp;
}

Shards shards_of(const Placement& placement, const model::ModelSpec& spec, std::int64_t rank) {
    const Position at = position_of(placement, rank);
    // Where rows are replicated over the tp group its ranks share the dense work; an owner does all of it for
    // its rows.
    const std::int64_t width_parts = placement.rows_replicated() ? placement.attention_tp : 1;
    const std::int64_t width_part_idx = placement.rows_replicated() ? at.tp : 0;
    return {
        .layers = part_of(spec.num_layers, placement.pp, at.stage),
        .embedding = at.stage == 0,
        .head = at.stage == placement.pp - 1,
        .heads = part_of(spec.num_attention_heads, placement.attention_tp, at.tp),
        .experts = part_of(spec.n_routed_experts, placement.ep, at.ep),
        .expert_width = part_of(spec.moe_intermediate_size, placement.etp, at.etp),
        .dense_width = part_of(spec.intermediate_size, width_parts, width_part_idx),
        .shared_width = part_of(spec.shared_intermediate_size(), width_parts, width_part_idx),
        .vocabulary = part_of(spec.vocab_size, placement.attention_tp, at.tp),
    };
}

}  // namespace eps::placement
