// Virtual clocks against times reckoned by hand, and the rules that hold in every simulated pass.
#include "base/error.hpp"
#include "tests/backend/sim/made_up.hpp"
#include "tests/catch.hpp"

#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>

namespace sim_tests {
namespace {

constexpr plan::BufferId kA = 0, kB = 1, kC = 2, kD = 3;

std::string simulated(const HandMade& made, const cost::Calibration& calibration,
                      const std::optional<Link>& link = {}) {
    return text_of(made.pass(), run(made.pass(), calibration, link));
}

/// Both ranks: 20 rows to the other.
void swap_rows(HandMade& made, plan::LaneId lane, plan::BufferId in, plan::BufferId out) {
    made.exchange(0, lane, in, out, {0, 1000}, {0, 1000});
    made.exchange(1, lane, in, out, {1000, 0}, {1000, 0});
}

}  // namespace

TEST_CASE("ops of a lane follow one another, with what lies between") {
    HandMade made(1);
    made.linear(0, kA, kB, 10);
    made.linear(0, kB, kC, 5);
    CHECK(simulated(made, round_numbers()) == "0 compute linear 0-10\n0 compute linear 10-15\n");
    cost::Calibration slow = round_numbers();
    slow.op_overhead_s = 2e-6;
    CHECK(simulated(made, slow) == "0 compute linear 2-12\n0 compute linear 14-19\n");
}

TEST_CASE("an exchange meets its peers, and what needs it waits") {
    HandMade made(2);
    made.linear(0, kA, kB, 10);
    made.linear(1, kA, kB, 30);
    swap_rows(made, made.dispatch, kB, kC);  // 32 us
    made.linear(0, kC, kD, 5);
    cost::Calibration calibration = round_numbers();
    CHECK(simulated(made, calibration) ==
          "0 compute linear 0-10\n0 dispatch all_to_all 10-62\n0 compute linear 62-67\n"
          "1 compute linear 0-30\n1 dispatch all_to_all 30-62\n");
    calibration.lane_hop_s = 1e-6;
    CHECK(simulated(made, calibration) ==
          "0 compute linear 0-10\n0 dispatch all_to_all 11-63\n0 compute linear 64-69\n"
          "1 compute linear 0-30\n1 dispatch all_to_all 31-63\n");
}

TEST_CASE("an exchange beside a GEMM is slower and slows it; lanes share") {
    HandMade made(2);
    swap_rows(made, made.dispatch, kA, kB);
    made.linear(0, kC, kD, 100);
    cost::Calibration calibration = round_numbers();
    calibration.exchange_slowdown = 2;
    for (double& seconds : calibration.exchanges[0].beside_by_bytes.seconds) seconds *= 2;
    calibration.gemm_loss = 0.5;
    // 32 us at half the speed; meanwhile the GEMM gets on at three quarters of its own: 48 of 64 us.
    CHECK(simulated(made, calibration) ==
          "0 compute linear 0-116\n0 dispatch all_to_all 0-64\n1 dispatch all_to_all 0-32\n");
    HandMade two(2);
    swap_rows(two, two.dispatch, kA, kB);
    swap_rows(two, two.combine, kC, kD);
    CHECK(simulated(two, round_numbers()) ==
          "0 dispatch all_to_all 0-64\n0 combine all_to_all 0-64\n"
          "1 dispatch all_to_all 0-64\n1 combine all_to_all 0-64\n");
}

TEST_CASE("a wire is one for all lanes, each direction by itself, and waiting slows nobody") {
    cost::Calibration calibration = round_numbers();
    calibration.exchange_slowdown = 2;
    for (double& seconds : calibration.exchanges[0].beside_by_bytes.seconds) seconds *= 2;
    calibration.gemm_loss = 0.5;
    calibration.exchanges = {{"mpi", 1, {{1e15}, {1e-15}}, {{1e15}, {1e-15}}}};  // the wire alone counts
    const Link link{0.32, 10};                                                   // 1000 rows take 100 us
    HandMade made(2);
    swap_rows(made, made.dispatch, kA, kB);
    made.linear(0, kC, kD, 50);
    CHECK(simulated(made, calibration, link) ==
          "0 compute linear 0-50\n0 dispatch all_to_all 0-110\n1 dispatch all_to_all 0-110\n");
    HandMade two(2);
    swap_rows(two, two.dispatch, kA, kB);
    swap_rows(two, two.combine, kC, kD);
    CHECK(simulated(two, calibration, link) ==
          "0 dispatch all_to_all 0-110\n0 combine all_to_all 0-210\n"
          "1 dispatch all_to_all 0-110\n1 combine all_to_all 0-210\n");
}

TEST_CASE("all with all on a wire takes what one rank sends") {
    cost::Calibration calibration = round_numbers();
    calibration.exchanges = {{"mpi", 1, {{1e15}, {1e-15}}, {{1e15}, {1e-15}}}};
    HandMade made(4);
    for (std::int64_t rank = 0; rank < 4; ++rank) {
        std::vector<std::int64_t> rows(4, 1000);
        rows[static_cast<std::size_t>(rank)] = 0;
        made.exchange(rank, made.dispatch, kA, kB, rows, rows);
    }
    for (const trace::Span& span : run(made.pass(), calibration, Link{0.32, 0}))
        CHECK(span.end_ns == 300'000);
}

TEST_CASE("messages come in as they left, whoever came first") {
    HandMade made(3);
    made.exchange(0, made.dispatch, kA, kB, {0, 10, 10}, {});
    made.exchange(1, made.dispatch, kA, kB, {0, 0, 20}, {10, 0, 0});
    made.exchange(2, made.dispatch, kA, kB, {}, {10, 20, 0});
    // On the wire 1 us a row: 20 rows of rank 1 come first, then the 10 that leave rank 0 second.
    cost::Calibration calibration = round_numbers();
    calibration.exchanges = {{"mpi", 1, {{1e15}, {1e-15}}, {{1e15}, {1e-15}}}};
    CHECK(simulated(made, calibration, Link{.gb_per_s = 0.032, .latency_us = 0}) ==
          "0 dispatch all_to_all 0-20\n1 dispatch all_to_all 0-20\n2 dispatch all_to_all 0-30\n");
}

TEST_CASE("messages between hosts take the network") {
    cost::Calibration calibration = round_numbers();
    calibration.network = cost::Network{2, Link{0.032, 5}};  // a tenth of the wire inside
    HandMade made(4);
    for (std::int64_t rank = 0; rank < 4; ++rank) {
        std::vector<std::int64_t> rows(4, 0);
        rows[static_cast<std::size_t>(rank ^ 1)] = 1000;  // the neighbour on the same host
        made.exchange(rank, made.dispatch, kA, kB, rows, rows);
        std::vector<std::int64_t> far(4, 0);
        far[static_cast<std::size_t>(rank ^ 2)] = 1000;
        made.exchange(rank, made.combine, kC, kD, far, far);
    }
    const auto spans = run(made.pass(), calibration, Link{0.32, 0});
    REQUIRE(spans.size() == 8);
    for (const trace::Span& span : spans)
        CHECK(span.end_ns == (span.lane == made.dispatch ? 100'000 : 1'005'000));
}

TEST_CASE("an exchange whose peer never comes is an error that names it") {
    HandMade made(2);
    made.exchange(0, made.dispatch, kA, kB, {0, 1}, {0, 1});
    try {
        run(made.pass(), round_numbers());
        FAIL_CHECK("ended");
    } catch (const Error& error) {
        CHECK(error.status() == Exit::internal);
        CHECK_THAT(error.what(), contains_text("rank 0, lane dispatch, op 0 (all_to_all"));
        CHECK_THAT(error.what(), contains_text("waits for ever"));
    }
}

namespace {

schedule_tests::TestCase test_case(const std::string& strategy, std::int64_t num_ranks,
                                   const std::string& base = "ep") {
    schedule_tests::TestCase test = schedule_tests::case_of(strategy, num_ranks, base);
    if (test.schedule.chunk_by == schedule::ChunkBy::expert) test.schedule.chunks = 3;
    test.lengths = {9, 12, 7, 8};
    test.layers = 2;
    return test;
}

/// Every op once, after its edges, one at a time on each lane, behind the counts its segment was lowered
/// from.
void check_rules(const plan::PassUnderCheck& pass, const std::vector<trace::Span>& spans, bool counts_known) {
    std::map<std::pair<std::int64_t, std::int64_t>, trace::Span> of_op;
    std::size_t num_ops = 0;
    for (const trace::Span& span : spans) REQUIRE(of_op.insert({{span.rank, span.op}, span}).second);
    for (std::int64_t rank = 0; rank < std::ssize(pass.ranks); ++rank) {
        const plan::RankPlan& plan = *pass.ranks[static_cast<std::size_t>(rank)].plan;
        num_ops += plan.ops.size();
        std::map<std::int64_t, std::int64_t> lane_free_ns;
        std::int64_t counts_ns = 0;
        for (const plan::Op& op : plan.ops) {
            const trace::Span& span = of_op.at({rank, op.id});
            REQUIRE(span.begin_ns >= lane_free_ns[op.lane]);
            lane_free_ns[op.lane] = span.end_ns;
            for (std::int64_t i = op.after.begin; i < op.after.end; ++i)
                REQUIRE(span.begin_ns >= of_op.at({rank, plan.after[static_cast<std::size_t>(i)]}).end_ns);
            if (std::holds_alternative<plan::ExchangeCounts>(op.args)) counts_ns = span.end_ns;
            const auto kind = plan.segments[static_cast<std::size_t>(op.segment)].kind;
            if (kind == plan::SegmentKind::experts && !counts_known) REQUIRE(span.begin_ns >= counts_ns);
        }
    }
    CHECK(spans.size() == num_ops);
}

}  // namespace

TEST_CASE("a pass may last days: what is left of an op is less than a late clock can tell") {
    HandMade made(2);
    for (int round = 0; round < 3; ++round) {
        swap_rows(made, made.dispatch, kA, kB);
        made.linear(0, kB, kA, 7);
        made.linear(1, kB, kA, 7);
    }
    const std::vector<trace::Span> spans =
        run(made.pass(), round_numbers(), Link{.gb_per_s = 0.7, .latency_us = 1e9 / 3});
    CHECK(backend::sim::seconds_of(spans) > 999);
    cost::Calibration slow = round_numbers();
    slow.op_overhead_s = 1e5 / 3;
    CHECK(backend::sim::seconds_of(run(made.pass(), slow)) > 1e5);
    slow.op_overhead_s = 1e30;
    CHECK_THROWS_AS(run(made.pass(), slow), Error);
}

TEST_CASE("every strategy's pass keeps the rules of a real one, the same each time") {
    for (const char* strategy : {"ep", "dp", "tp", "pp", "tp_ep", "eps", "eps_serial"})
        for (const std::int64_t num_ranks : {1, 2, 4}) {
            CAPTURE(strategy, num_ranks);
            const schedule_tests::LoweredPass lowered(test_case(strategy, num_ranks));
            const plan::PassUnderCheck pass = lowered.under_check();
            for (const auto& link : {std::optional<Link>(), std::optional(Link{0.1, 3})}) {
                const auto spans = run(pass, round_numbers(), link);
                check_rules(pass, spans, false);
                CHECK(text_of(pass, spans) == text_of(pass, run(pass, round_numbers(), link)));
            }
        }
}

TEST_CASE("on a slow wire chunks hide what they can") {
    const auto seconds = [](const char* strategy) {
        schedule_tests::TestCase test = test_case(strategy, 2);
        test.scope = schedule::Scope::moe;
        test.model = R"({"n_shared_experts": 0})";
        const schedule_tests::LoweredPass lowered(test);
        return backend::sim::seconds_of(run(lowered.under_check(), round_numbers(), Link{0.001, 1}));
    };
    CHECK(seconds("eps") < 0.9 * seconds("ep"));
    CHECK(seconds("eps") < 0.9 * seconds("eps_serial"));
}

TEST_CASE("simulated timelines are those in the golden files") {
    std::vector<std::pair<std::string, schedule_tests::TestCase>> cases;
    for (const char* strategy : {"ep", "eps", "tp", "pp"})
        cases.emplace_back(strategy, test_case(strategy, 2));
    for (const auto& [name, test] : cases) {
        const schedule_tests::LoweredPass lowered(test);
        const plan::PassUnderCheck pass = lowered.under_check();
        const std::string text = text_of(pass, run(pass, round_numbers(), Link{0.1, 3}));
        const std::string path = std::string(EPS_SOURCE_DIR) + "/tests/backend/sim/golden/" + name + ".txt";
        if (const char* update = std::getenv("EPS_UPDATE_GOLDEN");
            update != nullptr && std::string(update) == "1")
            std::ofstream(path) << text;
        std::stringstream golden;
        golden << std::ifstream(path).rdbuf();
        INFO(path << " is another timeline; EPS_UPDATE_GOLDEN=1 writes it anew");
        CHECK(text == golden.str());
    }
}

}  // namespace sim_tests
