// Two plans have the same hash iff they run the same.
#include "plan/builder.hpp"
#include "plan/hash.hpp"
#include "tests/catch.hpp"
#include "tests/plan/random_ops.hpp"

#include <functional>
#include <set>

using namespace eps;
using namespace eps::plan;
using namespace plan_tests;

namespace {

// One op of many kinds, so that every sort of field is there.
RankPlan small_plan() {
    PlanBuilder builder;
    const LaneId compute = builder.lane("compute", false), wire = builder.lane("wire", true);
    const BufferId x = builder.buffer({.name = "x", .cols = 4});
    const BufferId y = builder.buffer({.name = "y", .cols = 4});
    const BufferId w = builder.buffer({.name = "w", .kind = BufferKind::weight, .cols = 4, .rows = 12});
    builder.begin_segment({SegmentKind::gate, 1, 0});
    for (const std::int64_t n : {0, 3, 3, 8}) builder.number(n);
    builder.transfer(0, {0, 2});
    builder.transfer(1, {2, 7});
    builder.add(compute, RmsNorm{{x, {0, 8}}, w, {y, {0, 8}}, 1e-6},
                {reads({x, {0, 8}}), writes({y, {0, 8}})});
    builder.add(wire, AllToAll{Group::block, y, x, {0, 1}, {1, 2}},
                {reads({y, {0, 2}}), writes({x, {2, 7}})});
    builder.add(compute, PackRows{x, w, y, {0, 4}}, {reads({x, {0, 8}}), writes({y, {0, 8}})});
    builder.add(compute, ExpertGemm{x, w, y, {2, 5}, {0, 4}, GemmKind::dense, ExpertWeight::down},
                {reads({x, {0, 8}}), writes({y, {0, 8}})});
    builder.add(compute, UnpackSum{x, kNoBuffer, kNoBuffer, kNoBuffer, true, {y, {0, 8}}},
                {writes({y, {0, 8}})});
    builder.add(wire, Send{3, {x, {1, 5}}}, {reads({x, {1, 5}})});
    return builder.plan();
}

}  // namespace

TEST_CASE("every change of a plan changes its hash") {
    const std::function<void(RankPlan&)> changes[] = {
        [](RankPlan&) {},
        [](RankPlan& p) { p.lanes[0].name = "other"; },
        [](RankPlan& p) { p.lanes[0].exchange = true; },
        [](RankPlan& p) { p.buffers[0].name = "z"; },
        [](RankPlan& p) { p.buffers[0].cols = 5; },
        [](RankPlan& p) { p.buffers[0].dtype = DType::bf16; },
        [](RankPlan& p) { p.buffers[0].kind = BufferKind::input; },
        [](RankPlan& p) { p.buffers[2].rows = 11; },
        [](RankPlan& p) { p.buffers[2].residency = Residency::host; },
        [](RankPlan& p) { p.segments[0].kind = SegmentKind::head; },
        [](RankPlan& p) { p.segments[0].layer = 2; },
        [](RankPlan& p) { p.segments[0].micro_batch = 1; },
        [](RankPlan& p) { p.numbers[1] = 2; },
        [](RankPlan& p) { p.transfers[0].peer = 2; },
        [](RankPlan& p) { p.transfers[1].rows.end = 8; },
        [](RankPlan& p) { p.after[0] = 5; },
        [](RankPlan& p) { p.uses[0].rows.begin = 1; },
        [](RankPlan& p) { p.uses[0].buffer = 1; },
        [](RankPlan& p) { p.uses[0].access = Access::write; },
        [](RankPlan& p) { p.ops[0].lane = 1; },
        [](RankPlan& p) { p.ops[1].after = {}; },
        [](RankPlan& p) { p.ops[1].uses.end -= 1; },
        [](RankPlan& p) { p.ops[0].segment = 1; },
        [](RankPlan& p) { std::get<RmsNorm>(p.ops[0].args).eps = 1e-5; },
        [](RankPlan& p) { std::get<RmsNorm>(p.ops[0].args).out.rows.end = 7; },
        [](RankPlan& p) { std::get<RmsNorm>(p.ops[0].args).weight = 1; },
        [](RankPlan& p) { std::get<AllToAll>(p.ops[1].args).group = Group::tp; },
        [](RankPlan& p) {
            std::get<AllToAll>(p.ops[1].args).sends = {1, 2};
        },
        [](RankPlan& p) { std::get<AllToAll>(p.ops[1].args).out = 1; },
        [](RankPlan& p) { std::get<PackRows>(p.ops[2].args).index = 1; },
        [](RankPlan& p) {
            std::get<PackRows>(p.ops[2].args).ranges = {0, 2};
        },
        [](RankPlan& p) {
            std::get<PackRows>(p.ops[2].args).stay = {{0, 1}, {1, {2, 3}}};
        },
        [](RankPlan& p) { std::get<ExpertGemm>(p.ops[3].args).kind = GemmKind::group; },
        [](RankPlan& p) { std::get<ExpertGemm>(p.ops[3].args).which = ExpertWeight::gate_up; },
        [](RankPlan& p) {
            std::get<ExpertGemm>(p.ops[3].args).experts = {2, 4};
        },
        [](RankPlan& p) { std::get<UnpackSum>(p.ops[4].args).residual = false; },
        [](RankPlan& p) { std::get<Send>(p.ops[5].args).peer = 4; },
        [](RankPlan& p) {
            p.ops[0].args = Clear{{1, {0, 8}}};
        },
        [](RankPlan& p) { p.ops.pop_back(); },
    };
    std::set<std::uint64_t> hashes;
    for (const auto& change : changes) {
        RankPlan plan = small_plan();
        change(plan);
        hashes.insert(hash_of(plan));
    }
    CHECK(hashes.size() == std::size(changes));
}

TEST_CASE("capacities and earlier passes do not show in the hash") {
    for (std::uint64_t number = 0; number < 20; ++number) {
        const OpSequence sequence = random_sequence(number, {});
        PlanBuilder fresh, used;
        declare(sequence, fresh);
        declare(sequence, used);
        add_all(sequence, fresh);
        add_all(sequence, used);
        used.begin_pass();
        used.make_room(1000);
        used.begin_segment({});
        used.add(0, Clear{}, {writes({0, {0, 500}})});
        used.begin_pass();
        add_all(sequence, used);
        CHECK(hash_of(fresh.plan()) == hash_of(used.plan()));
    }
}
