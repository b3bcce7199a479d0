#include "base/error.hpp"
#include "placement/placement.hpp"
#include "tests/catch.hpp"

#include <set>
#include <tuple>

using namespace eps;
using namespace eps::placement;

namespace {

/// Every placement of `world` ranks: all factorisations into pp x tp x dp and pp x etp x ep x edp.
std::vector<Placement> all_placements(std::int64_t world) {
    std::vector<Placement> found;
    for (std::int64_t pp = 1; pp <= world; ++pp) {
        if (world % pp != 0) continue;
        const std::int64_t stage = world / pp;
        for (std::int64_t tp = 1; tp <= stage; ++tp)
            for (std::int64_t etp = 1; etp <= stage; ++etp)
                for (std::int64_t ep = 1; ep <= stage; ++ep)
                    if (stage % tp == 0 && stage % (etp * ep) == 0)
                        found.push_back({pp, tp, stage / tp, etp, ep, stage / (etp * ep)});
    }
    return found;
}

model::ModelSpec uneven_model() {
    model::ModelSpec spec;
    spec.vocab_size = 101;
    spec.num_layers = spec.num_hidden_layers = 5;
    spec.num_attention_heads = 3;
    spec.intermediate_size = 37;
    spec.moe_intermediate_size = 11;
    spec.n_routed_experts = 15;
    spec.n_shared_experts = 2;
    return spec;
}

std::string message_of(const Placement& placement, std::int64_t world_size) {
    try {
        check_placement(placement, world_size);
    } catch (const Error& error) {
        CHECK(error.status() == Exit::usage);
        return error.what();
    }
    return "";
}

/// Parts that together are [0, total) without gap or overlap.
void check_tiles(const std::vector<Range>& parts, std::int64_t total) {
    std::int64_t at = 0;
    for (const Range part : parts) {
        CHECK(part.begin == at);
        CHECK(part.end >= part.begin);
        at = part.end;
    }
    CHECK(at == total);
}

}  // namespace

TEST_CASE("factors must multiply to the world") {
    for (std::int64_t world = 1; world <= 8; ++world)
        for (const Placement& p : all_placements(world)) {
            CHECK(message_of(p, world).empty());
            CHECK_FALSE(message_of(p, world + 1).empty());
        }
    CHECK(message_of({1, 2, 1, 1, 4, 1}, 4) ==
          "pp 1 x attention.tp 2 x attention.dp 1 is 2 ranks, but 4 were started; the product must be 4");
    CHECK(message_of({1, 4, 1, 1, 3, 1}, 4) ==
          "pp 1 x experts.etp 1 x experts.ep 3 x experts.edp 1 is 3 ranks, but 4 were started; the product "
          "must be 4");
    CHECK(message_of({0, 4, 1, 1, 4, 1}, 4) ==
          "pp is 0; every factor of a placement is a whole number from 1");
    CHECK(message_of({1, 4, 1, 1, -4, -1}, 4) ==
          "experts.ep is -4; every factor of a placement is a whole number from 1");
}

TEST_CASE("a product that overflows is refused") {
    const std::int64_t huge = std::int64_t{1} << 62;
    CHECK_THAT(message_of({huge, 4, huge, 1, 4, 1}, 4),
               contains_text("is more than 4 ranks, but 4 were started"));
    CHECK_THAT(message_of({1, huge, 4, 1, 4, 1}, 4), contains_text("is more than 4 ranks"));
    CHECK_THAT(message_of({1, 4, 1, huge, huge, huge}, 4), contains_text("is more than 4 ranks"));
}

TEST_CASE("coordinates of every placement of 1 to 8 ranks") {
    for (std::int64_t world = 1; world <= 8; ++world)
        for (const Placement& p : all_placements(world)) {
            INFO(to_string(p));
            std::set<std::tuple<std::int64_t, std::int64_t, std::int64_t>> attention;
            std::set<std::tuple<std::int64_t, std::int64_t, std::int64_t, std::int64_t>> experts;
            for (std::int64_t rank = 0; rank < world; ++rank) {
                const Position at = position_of(p, rank);
                CHECK(at.rank == rank);
                // The order of ranks, written out: tp and etp fastest, pp slowest.
                CHECK((at.stage * p.attention_dp + at.dp) * p.attention_tp + at.tp == rank);
                CHECK(((at.stage * p.edp + at.edp) * p.ep + at.ep) * p.etp + at.etp == rank);
                CHECK(at.stage * p.stage_size() + at.stage_rank == rank);
                CHECK((at.dp < p.attention_dp && at.tp < p.attention_tp && at.stage < p.pp));
                CHECK((at.edp < p.edp && at.ep < p.ep && at.etp < p.etp));
                attention.insert({at.stage, at.dp, at.tp});
                experts.insert({at.stage, at.edp, at.ep, at.etp});

                CHECK(first_rank_of_stage(p, at) == rank - at.stage_rank);
                CHECK(first_rank_of_tp_group(p, at) == rank - at.tp);
                CHECK(first_rank_of_block(p, at) == rank - at.ep * p.etp - at.etp);
            }
            CHECK(static_cast<std::int64_t>(attention.size()) == world);
            CHECK(static_cast<std::int64_t>(experts.size()) == world);
        }
}

TEST_CASE("a rank outside of the world is a mistake of the caller") {
    CHECK_THROWS_AS(position_of({1, 2, 2, 1, 4, 1}, 4), Error);
    CHECK_THROWS_AS(position_of({1, 2, 2, 1, 4, 1}, -1), Error);
}

TEST_CASE("rows are replicated where experts are shared out like attention") {
    CHECK(Placement{1, 1, 4, 1, 1, 4}.rows_replicated());        // dp
    CHECK(Placement{1, 4, 1, 4, 1, 1}.rows_replicated());        // tp
    CHECK(Placement{4, 1, 1, 1, 1, 1}.rows_replicated());        // pp
    CHECK_FALSE(Placement{1, 1, 4, 1, 4, 1}.rows_replicated());  // ep
    CHECK_FALSE(Placement{1, 4, 1, 1, 4, 1}.rows_replicated());  // tp_ep
    CHECK_FALSE(Placement{1, 2, 2, 4, 1, 1}.rows_replicated());
}

TEST_CASE("shards cover the model once, in every placement of 1 to 8 ranks") {
    const model::ModelSpec spec = uneven_model();
    for (std::int64_t world = 1; world <= 8; ++world)
        for (const Placement& p : all_placements(world)) {
            INFO(to_string(p));
            std::vector<Range> layers, heads, vocabulary, experts, expert_width, dense, shared;
            for (std::int64_t stage = 0; stage < p.pp; ++stage) {
                const Shards s = shards_of(p, spec, stage * p.stage_size());
                layers.push_back(s.layers);
                CHECK(s.embedding == (stage == 0));
                CHECK(s.head == (stage == p.pp - 1));
            }
            for (std::int64_t tp = 0; tp < p.attention_tp; ++tp) {
                const Shards s = shards_of(p, spec, tp);
                heads.push_back(s.heads);
                vocabulary.push_back(s.vocabulary);
                dense.push_back(s.dense_width);
                shared.push_back(s.shared_width);
            }
            for (std::int64_t etp = 0; etp < p.etp; ++etp)
                expert_width.push_back(shards_of(p, spec, etp).expert_width);
            for (std::int64_t ep = 0; ep < p.ep; ++ep)
                experts.push_back(shards_of(p, spec, ep * p.etp).experts);
            check_tiles(layers, 5);
            check_tiles(heads, 3);
            check_tiles(vocabulary, 101);
            check_tiles(experts, 15);
            check_tiles(expert_width, 11);
            if (p.rows_replicated()) {
                check_tiles(dense, 37);
                check_tiles(shared, 22);
            } else {
                for (const Range width : dense) CHECK(width == Range{0, 37});
                for (const Range width : shared) CHECK(width == Range{0, 22});
            }
        }
}

TEST_CASE("15 experts over 4 ranks") {
    const Placement ep{1, 1, 4, 1, 4, 1};
    const model::ModelSpec spec = uneven_model();
    CHECK(shards_of(ep, spec, 0).experts == Range{0, 3});
    CHECK(shards_of(ep, spec, 1).experts == Range{3, 7});
    CHECK(shards_of(ep, spec, 2).experts == Range{7, 11});
    CHECK(shards_of(ep, spec, 3).experts == Range{11, 15});
}

TEST_CASE("more ranks than heads, layers or experts leave some with nothing") {
    model::ModelSpec spec = uneven_model();
    spec.n_routed_experts = 3;
    const Placement tp_ep{1, 8, 1, 1, 8, 1}, pp{8, 1, 1, 1, 1, 1};
    std::vector<std::int64_t> heads, experts, layers;
    for (std::int64_t rank = 0; rank < 8; ++rank) {
        heads.push_back(shards_of(tp_ep, spec, rank).heads.size());
        experts.push_back(shards_of(tp_ep, spec, rank).experts.size());
        layers.push_back(shards_of(pp, spec, rank).layers.size());
    }
    CHECK(heads == std::vector<std::int64_t>{0, 0, 1, 0, 0, 1, 0, 1});
    CHECK(experts == heads);
    CHECK(layers == std::vector<std::int64_t>{0, 1, 0, 1, 1, 0, 1, 1});
    CHECK(shards_of(pp, spec, 7).head);
}

TEST_CASE("a placement prints itself in a line") {
    CHECK(to_string({1, 1, 4, 1, 4, 1}) == "pp 1, attention tp 1 x dp 4, experts etp 1 x ep 4 x edp 1");
}
