// The text of a plan.
#include "plan/builder.hpp"
#include "plan/hash.hpp"
#include "plan/print.hpp"
#include "tests/catch.hpp"

#include <fmt/format.h>

using namespace eps;
using namespace eps::plan;

TEST_CASE("a plan prints one line a lane under each segment") {
    PlanBuilder builder;
    const LaneId compute = builder.lane("compute", false), wire = builder.lane("wire", true);
    const BufferId x = builder.buffer({.name = "x", .cols = 4});
    const BufferId y = builder.buffer({.name = "y", .dtype = DType::bf16, .cols = 4});
    const BufferId w = builder.buffer({.name = "w", .kind = BufferKind::weight, .cols = 4, .rows = 12});
    const BufferId index = builder.buffer(
        {.name = "index", .kind = BufferKind::input, .dtype = DType::i32, .cols = 1, .rows = 3});

    builder.begin_segment({SegmentKind::embed, -1, 0});
    builder.begin_segment({SegmentKind::experts, 3, 1});
    builder.add(compute, RmsNorm{{x, {0, 8}}, w, {x, {0, 8}}, 1e-6},
                {reads({x, {0, 8}}), writes({x, {0, 8}})});
    for (const std::int64_t n : {0, 2, 4, 5}) builder.number(n);
    builder.add(compute, PackRows{x, index, y, {0, 4}}, {reads({x, {0, 8}}), writes({y, {0, 5}})});
    for (const std::int64_t n : {0, 3, 3, 8}) builder.number(n);
    builder.add(compute, ExpertGemm{y, w, x, {2, 5}, {4, 8}, GemmKind::dense, ExpertWeight::down},
                {reads({y, {0, 8}}), writes({x, {0, 8}})});
    builder.transfer(0, {0, 2});
    builder.transfer(1, {2, 7});
    builder.transfer(1, {0, 1});
    builder.add(wire, AllToAll{Group::block, x, y, {0, 2}, {2, 3}},
                {reads({x, {0, 7}}), writes({y, {0, 1}})});
    builder.begin_segment({SegmentKind::stage_out, -1, 0});
    builder.add(wire, Send{3, {x, {1, 5}}}, {reads({x, {1, 5}})});

    const std::string expected =
        "5 ops on 2 lanes, 1 edges, hash " + fmt::format("{:016x}", hash_of(builder.plan())) +
        "; 192 bytes of weights, 12 of inputs, 192 of work\n"
        "embed\n"
        "experts, layer 3, micro-batch 1\n"
        "  compute  0 rms_norm x 0:8 | 1 pack_rows y 0:2+4:5 | 2 expert_gemm x 0:3:3:8, experts 2:5, dense\n"
        "  wire     3 all_to_all, x to 0=2 1=5, y from 1=1, after 2\n"
        "stage_out\n"
        "  wire     4 send, peer 3 x 1:5\n";
    CHECK(print(builder.plan()) == expected);
}

TEST_CASE("an empty plan prints its first line") {
    CHECK_THAT(print(RankPlan{}), contains_text("0 ops on 0 lanes, 0 edges"));
}
