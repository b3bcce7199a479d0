// Times of ops, reckoned by hand from the made-up calibration.
#include "base/error.hpp"
#include "cost/op_times.hpp"
#include "plan/builder.hpp"
#include "tests/catch.hpp"
#include "tests/cost/made_up.hpp"

#include <array>

using namespace cost_tests;
using eps::plan::GemmKind;

namespace {

auto approx(double value) {
    return Approx(value).epsilon(1e-12);
}

}  // namespace

TEST_CASE("expert GEMMs: rows add up, and a group takes as long as its longest expert") {
    Calibration calibration = made_up();
    const OpTimes times(calibration, eps::DType::f32, "c.json");
    const std::array<std::int64_t, 5> even{0, 10, 20, 30, 40}, skewed{0, 1, 2, 2, 40};
    CHECK(times.expert_gemm_seconds(GemmKind::group, 8, 16, even) == approx(40 * 2e-6));
    CHECK(times.expert_gemm_seconds(GemmKind::dense, 8, 16, even) == approx(440 * 1e-6));
    CHECK(times.expert_gemm_seconds(GemmKind::dense, 8, 16, skewed) == approx(340 * 1e-6));

    // Two threads: four experts take half as long each, but no expert alone does.
    for (ExpertGemmTimes& entry : calibration.dtypes[0].gemms[0].experts)
        if (entry.kind == GemmKind::group && entry.num_experts > 1)
            for (double& s : entry.by_rows.seconds) s /= 2;
    const OpTimes threaded(calibration, eps::DType::f32, "c.json");
    CHECK(threaded.expert_gemm_seconds(GemmKind::group, 8, 16, even) == approx(20 * 2e-6));
    CHECK(threaded.expert_gemm_seconds(GemmKind::group, 8, 16, skewed) == approx(38 * 2e-6));
}

TEST_CASE("shapes that were not measured take the nearest one's time, scaled") {
    const OpTimes times(made_up(), eps::DType::f32, "c.json");
    CHECK(times.linear_seconds(64, 8, 16) == approx(1e-6 + 64e-7));
    CHECK(times.linear_seconds(64, 16, 16) == approx(2 * (1e-6 + 64e-7)));
    CHECK(times.expert_seconds(GemmKind::group, 16, 16, 1, 10) == approx(2 * 10 * 2e-6));
}

TEST_CASE("exchanges: between measured numbers of messages, and beyond") {
    const OpTimes times(made_up(), eps::DType::f32, "c.json");
    CHECK(times.messages(1).seconds(0).alone == 0);
    CHECK(times.messages(0).seconds(64).alone == 0);
    CHECK(times.messages(1).seconds(1024).alone == approx(1e-5 + 1024e-9));
    CHECK(times.messages(2).seconds(1024).beside == approx(4e-5 + 1024e-9));
    CHECK(times.messages(2).seconds(1024).alone == approx(2e-5 + 1024e-9));
    CHECK(times.messages(3).seconds(1024).alone == approx(3e-5 + 1024e-9));
    CHECK(times.messages(6).seconds(1024).alone == approx(3e-5 + 1024e-9 + 3 * (3e-5 + 1e-9) / 3));
    CHECK(times.copy_seconds(4096) == approx(1e-6 + 4096e-10));
}

TEST_CASE("exchanges: by the named transport where it was measured, otherwise by the first") {
    eps::cost::Calibration two = made_up();
    two.exchanges.push_back({"nccl", 1, line(5e-5, 1e-9), line(7e-5, 1e-9)});
    OpTimes times(two, eps::DType::f32, "c.json");
    times.use_transport("nccl");
    CHECK(times.messages(1).seconds(1024).alone == approx(5e-5 + 1024e-9));
    CHECK(times.messages(1).seconds(1024).beside == approx(7e-5 + 1024e-9));
    times.use_transport("copy_engine");
    CHECK(times.messages(1).seconds(1024).alone == approx(1e-5 + 1024e-9));
}

TEST_CASE("ops of a plan: by their rows and their lane") {
    using namespace eps::plan;
    PlanBuilder builder;
    const LaneId compute = builder.lane("compute", false), dispatch = builder.lane("dispatch", true);
    const auto rows_of = [&](std::int64_t cols) {
        return builder.buffer({.name = "b", .cols = cols, .rows = 0});
    };
    const BufferId in = rows_of(16), up = rows_of(8), act = rows_of(4), index = rows_of(1);
    const BufferId weight = builder.buffer({.name = "w", .kind = BufferKind::weight, .cols = 16, .rows = 8});
    builder.begin_segment({});
    builder.add(compute, Linear{{in, {0, 64}}, weight, kNoBuffer, {up, {0, 64}}}, {});
    builder.add(compute, Swiglu{{up, {0, 64}}, {act, {0, 64}}}, {});
    for (const std::int64_t n : {0, 10, 20, 64}) builder.number(n);
    builder.add(dispatch, PackRows{in, index, in, {0, 4}}, {});
    builder.add(compute, PackRows{in, index, in, {0, 4}}, {});
    builder.add(compute, ExpertGemm{in, weight, up, {0, 3}, {0, 4}, GemmKind::group, ExpertWeight::gate_up},
                {});
    builder.add(dispatch, AllToAll{Group::block, in, in, {0, 0}, {0, 0}}, {});

    const OpTimes times(made_up(), eps::DType::f32, "c.json");
    const auto& ops = builder.plan().ops;
    const auto seconds = [&](std::size_t op) { return times.seconds(ops[op], builder.plan()); };
    CHECK(seconds(0) == approx(1e-6 + 64e-7));
    CHECK(seconds(1) == approx(1e-6 + 64 * 12 * 4 * 1e-9));
    CHECK(seconds(2) == approx(1e-6 + 54 * 2 * 16 * 4 * 2e-9));
    CHECK(seconds(3) == approx(1e-6 + 54 * 2 * 16 * 4 * 1e-9));
    CHECK(seconds(4) == approx(64 * 2e-6));
    CHECK(seconds(5) == 0);
}

TEST_CASE("SwiGLU behind a product whose times hold it takes nothing more") {
    using namespace eps::plan;
    PlanBuilder builder;
    const LaneId compute = builder.lane("compute", false);
    const auto rows_of = [&](std::int64_t cols) {
        return builder.buffer({.name = "b", .cols = cols, .rows = 0});
    };
    const BufferId in = rows_of(16), up = rows_of(8), act = rows_of(4);
    const BufferId weight = builder.buffer({.name = "w", .kind = BufferKind::weight, .cols = 16, .rows = 8});
    builder.begin_segment({});
    for (const std::int64_t n : {0, 24, 64}) builder.number(n);
    const auto product = [&](GemmKind kind) {
        builder.add(compute, ExpertGemm{in, weight, up, {0, 2}, {0, 3}, kind, ExpertWeight::gate_up}, {});
    };
    for (const GemmKind kind : {GemmKind::group, GemmKind::dense}) {
        product(kind);
        builder.add(compute, Swiglu{{up, {0, 64}}, {act, {0, 64}}}, {});
    }
    product(GemmKind::group);
    builder.add(compute, Swiglu{{up, {0, 24}}, {act, {0, 24}}}, {});  // of a part of it

    Calibration calibration = made_up();
    const auto seconds = [&](std::size_t op) {
        return OpTimes(calibration, eps::DType::f32, "").seconds(builder.plan().ops[op], builder.plan());
    };
    const double alone = 1e-6 + 64 * 12 * 4 * 1e-9;
    CHECK(seconds(1) == approx(alone));
    for (ExpertGemmTimes& entry : calibration.dtypes[0].gemms[0].experts)
        entry.with_swiglu = entry.kind == GemmKind::group;
    CHECK(seconds(0) == approx(64 * 2e-6));
    CHECK(seconds(1) == 0);
    CHECK(seconds(3) == approx(alone));
    CHECK(seconds(5) == approx(1e-6 + 24 * 12 * 4 * 1e-9));
}

TEST_CASE("a dtype without times is refused") {
    CHECK_THROWS_AS(OpTimes(made_up(), eps::DType::bf16, "c.json"), eps::Error);
    Calibration without_gemms = made_up();
    without_gemms.dtypes[0].gemms.clear();
    CHECK_THROWS_AS(OpTimes(without_gemms, eps::DType::f32, "c.json"), eps::Error);
}

TEST_CASE("an op that nothing like was measured has no time, not none") {
    using namespace eps::plan;
    PlanBuilder builder;
    const LaneId compute = builder.lane("compute", false);
    const BufferId rows = builder.buffer({.name = "rows", .cols = 16, .rows = 0});
    const BufferId ids = builder.buffer({.name = "ids", .cols = 2, .rows = 0});
    const BufferId weight = builder.buffer({.name = "w", .kind = BufferKind::weight, .cols = 16, .rows = 8});
    builder.begin_segment({});
    builder.add(compute, Add{{rows, {0, 4}}, {rows, {0, 4}}}, {});
    builder.add(compute, Gate{{rows, {0, 4}}, weight, {ids, {0, 4}}, {ids, {0, 4}}, kNoBuffer}, {});
    builder.add(compute, Linear{{rows, {0, 4}}, weight, kNoBuffer, {ids, {0, 4}}}, {});
    builder.add(compute, Clear{{rows, {0, 0}}}, {});
    Calibration calibration = made_up();
    calibration.dtypes[0].gates.clear();
    for (auto& gemm : calibration.dtypes[0].gemms) gemm.by_rows = {};
    const OpTimes times(calibration, eps::DType::f32, "c.json");
    for (const std::size_t op : {0, 1, 2})
        CHECK_THROWS_WITH(
            times.seconds(builder.plan().ops[op], builder.plan()),
            Catch::Contains("c.json: has no times of the op ") && Catch::Contains("lane compute in f32"));
    CHECK(times.seconds(builder.plan().ops[3], builder.plan()) == 0);  // of no rows
}
