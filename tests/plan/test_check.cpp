// Plans of two ranks, made by hand: exchanges that wait for each other, and the set of rows.
#include "base/error.hpp"
#include "plan/builder.hpp"
#include "plan/check.hpp"
#include "plan/row_set.hpp"
#include "tests/catch.hpp"

#include <set>

using namespace eps;
using namespace eps::plan;

namespace {

// Two exchange lanes and a compute lane, without buffers.
struct HandMade {
    PlanBuilder builder;
    LaneId compute = builder.lane("compute", false);
    LaneId dispatch = builder.lane("dispatch", true), combine = builder.lane("combine", true);

    HandMade() { builder.begin_segment({SegmentKind::experts, 0, 0}); }
    void exchange(LaneId lane) { builder.add(lane, AllToAll{Group::block, 0, 0, {}, {}}, {}); }
};

PassUnderCheck pass_of(const HandMade& a, const HandMade& b) {
    PassUnderCheck pass;
    pass.placement = {.attention_dp = 2, .ep = 2};
    pass.ranks = {{&a.builder.plan(), {}}, {&b.builder.plan(), {}}};
    return pass;
}

}  // namespace

TEST_CASE("R4: lanes may run at their own pace") {
    HandMade a, b;
    a.exchange(a.dispatch);
    a.exchange(a.dispatch);
    a.exchange(a.combine);
    b.exchange(b.combine);
    b.exchange(b.dispatch);
    b.exchange(b.dispatch);
    CHECK(check_exchanges(pass_of(a, b)) == 6);
}

TEST_CASE("R4: two ranks whose lanes wait for each other never end") {
    HandMade a, b;
    a.builder.set_serial(true);
    b.builder.set_serial(true);
    a.exchange(a.dispatch);
    a.exchange(a.combine);
    b.exchange(b.combine);
    b.exchange(b.dispatch);
    CHECK(check_shape(pass_of(a, b)) == 4);
    CHECK_THROWS_WITH(
        check_exchanges(pass_of(a, b)),
        contains_text("R4: rank 0, lane dispatch, op 0 (all_to_all; experts, layer 0): waits for ever"));
}

TEST_CASE("R4: neighbours in a pipeline that both receive first never end") {
    HandMade a, b;
    const BufferId x = a.builder.buffer({.name = "x", .cols = 1}),
                   y = b.builder.buffer({.name = "y", .cols = 1});
    for (HandMade* rank : {&a, &b}) {
        rank->builder.set_serial(true);
        const BufferId buffer = rank == &a ? x : y;
        const std::int64_t peer = rank == &a ? 1 : 0;
        rank->builder.add(rank->dispatch, Receive{peer, {buffer, {0, 1}}}, {writes({buffer, {0, 1}})});
        rank->builder.add(rank->combine, Send{peer, {buffer, {0, 1}}}, {reads({buffer, {0, 1}})});
    }
    CHECK_THROWS_WITH(check_exchanges(pass_of(a, b)),
                      contains_text("op 0 (receive; experts, layer 0): waits"));
}

TEST_CASE("a replay visits every op once, exchanges together") {
    HandMade a, b;
    for (HandMade* rank : {&a, &b}) {
        rank->builder.add(rank->compute, Clear{}, {});
        rank->exchange(rank->dispatch);
        rank->builder.add(rank->compute, Clear{}, {});
    }
    const PassUnderCheck pass = pass_of(a, b);
    std::set<std::pair<std::int64_t, OpId>> seen;
    replay(pass, [&](std::span<const RankOp> ops) {
        CHECK(ops.size() == (std::holds_alternative<AllToAll>(ops.front().op->args) ? 2U : 1U));
        for (const RankOp& op : ops) CHECK(seen.insert({op.rank, op.op->id}).second);
    });
    CHECK(seen.size() == 6);
}

TEST_CASE("a set of rows holds what was added, piece by piece") {
    RowSet rows;
    CHECK(rows.empty());
    CHECK(rows.holds({3, 3}));
    CHECK_FALSE(rows.holds({0, 1}));
    rows.add({5, 5});
    CHECK(rows.empty());
    rows.add({0, 2});
    rows.add({4, 6});
    CHECK(rows.holds({4, 6}));
    CHECK_FALSE(rows.holds({1, 5}));
    rows.add({2, 4});
    CHECK(rows.holds({0, 6}));
    rows.add({8, 9});
    CHECK_FALSE(rows.holds({5, 9}));
    rows.add({1, 20});
    CHECK(rows.holds({0, 20}));
}
