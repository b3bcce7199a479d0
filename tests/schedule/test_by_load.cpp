// Passes whose chunks and GEMM kinds are chosen by the load: legal, and the same wherever they are lowered.
#include "tests/catch.hpp"
#include "tests/cost/made_up.hpp"
#include "tests/schedule/lowered_pass.hpp"

#include <set>

using namespace eps;
using namespace schedule_tests;

namespace {

/// Overheads are nothing and the wire is slow: chunks pay.
cost::OpTimes times_for_chunks() {
    cost::Calibration calibration = cost_tests::made_up();
    calibration.chunk_overhead_s = 1e-9;
    return {calibration, DType::f32, "made up"};
}

TestCase by_load(const cost::OpTimes& times, std::int64_t world_size) {
    TestCase test = case_of("eps", world_size);
    test.lengths = {40, 33, 51, 20};
    test.link = Link{.gb_per_s = 0.002, .latency_us = 0};
    test.times = &times;
    return test;
}

std::vector<std::vector<std::int64_t>> bounds_of(const plan::RankPlan& plan) {
    std::vector<std::vector<std::int64_t>> all;
    for (const plan::Op& op : plan.ops)
        if (const auto* maps = std::get_if<plan::MapRows>(&op.args))
            all.emplace_back(plan.numbers.begin() + maps->chunk_bounds.begin,
                             plan.numbers.begin() + maps->chunk_bounds.end);
    return all;
}

}  // namespace

TEST_CASE("all ranks choose the same chunks, each layer its own, and the pass is legal") {
    const cost::OpTimes times = times_for_chunks();
    for (const std::int64_t world_size : {1, 2, 3, 4}) {
        const LoweredPass lowered(by_load(times, world_size));
        const auto chosen = bounds_of(lowered.plan(0));
        REQUIRE(chosen.size() == 2);
        for (std::int64_t rank = 1; rank < world_size; ++rank) CHECK(bounds_of(lowered.plan(rank)) == chosen);
        if (world_size > 1) CHECK(std::ssize(chosen[0]) > 2 * world_size);  // more than one chunk
        CHECK(plan::check_all(lowered.under_check()) > 0);
    }
}

TEST_CASE("a skewed load divides experts by rows") {
    const cost::OpTimes times = times_for_chunks();
    TestCase test = by_load(times, 2);
    test.model = R"({"n_routed_experts": 60})";
    std::int64_t num_uneven = 0;
    for (const double gb_per_s : {0.0005, 0.001, 0.002, 0.004, 0.008}) {
        test.link = Link{.gb_per_s = gb_per_s, .latency_us = 0};
        const LoweredPass lowered(test);
        for (const auto& bounds : bounds_of(lowered.plan(0))) {
            std::vector<std::int64_t> even;
            routing::divide_evenly(lowered.tables(0).block, std::ssize(bounds) / 2 - 1, even);
            num_uneven += bounds != even;
        }
        CHECK(plan::check_all(lowered.under_check()) > 0);
    }
    CHECK(num_uneven > 0);
    test.schedule.combine = schedule::Combine::per_chunk;  // fixed before the load is known
    const LoweredPass fixed(test);
    for (const auto& bounds : bounds_of(fixed.plan(0))) {
        std::vector<std::int64_t> even;
        routing::divide_evenly(fixed.tables(0).block, 5, even);
        CHECK(bounds == even);
    }
    CHECK(plan::check_all(fixed.under_check()) > 0);
}

TEST_CASE("on a skewed load chunks of one layer get different kinds of GEMM") {
    const cost::OpTimes times = times_for_chunks();  // the kinds meet at 100 rows
    TestCase test = by_load(times, 2);
    test.lengths = {250, 250};
    test.schedule.chunks = 7;
    const LoweredPass lowered(test);
    std::set<plan::GemmKind> kinds;
    for (const std::int64_t rank : {0, 1}) {
        const plan::RankPlan& plan = lowered.plan(rank);
        for (const plan::Op& op : plan.ops) {
            const auto* gemm = std::get_if<plan::ExpertGemm>(&op.args);
            if (gemm == nullptr) continue;
            kinds.insert(gemm->kind);
            if (gemm->experts.size() > 1) continue;
            const std::int64_t rows =
                plan.numbers[at(gemm->offsets.begin + 1)] - plan.numbers[at(gemm->offsets.begin)];
            CHECK(gemm->kind == (rows > 100 ? plan::GemmKind::dense : plan::GemmKind::group));
        }
    }
    CHECK(kinds.size() == 2);
}
