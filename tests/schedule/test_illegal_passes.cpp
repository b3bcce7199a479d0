// Each rule of plan/check fires, with the right rank, lane and op, on a legal pass that was broken in one
// way.
#include "tests/catch.hpp"
#include "tests/schedule/broken_pass.hpp"

using namespace eps;
using namespace eps::plan;
using namespace schedule_tests;

namespace {

TestCase pipelined(std::int64_t world_size = 4) {
    TestCase test = case_of("eps", world_size);
    test.schedule.chunks = 3;
    test.lengths = {5, 3, 6, 4, 7};
    return test;
}

Transfer& transfer(RankPlan& plan, Range part, std::int64_t which) {
    return plan.transfers[static_cast<std::size_t>(part.begin + which)];
}

std::int64_t& number(RankPlan& plan, std::int64_t i) {
    return plan.numbers[static_cast<std::size_t>(i)];
}

// The rule throws, and says all of this.
template <typename Rule>
void check_fires(Rule rule, const PassUnderCheck& pass, const std::vector<std::string>& texts,
                 Exit status = Exit::internal) {
    try {
        rule(pass);
        FAIL("the rule did not fire");
    } catch (const Error& error) {
        CHECK(error.status() == status);
        for (const std::string& text : texts) CHECK_THAT(error.what(), contains_text(text));
    }
}

}  // namespace

TEST_CASE("R1: ids, edges and indices") {
    BrokenPass broken(pipelined());
    REQUIRE(check_shape(broken.pass) > 0);

    SECTION("an id that is not the op's place") {
        broken.op(2, "swiglu").id += 1;
        check_fires(check_shape, broken.pass, {"R1: rank 2", "stands at place"});
    }
    SECTION("an edge that points forward") {
        Op& op = broken.op(1, "all_to_all", 1, "combine");
        REQUIRE(!op.after.empty());
        broken.plan(1).after[static_cast<std::size_t>(op.after.begin)] = op.id + 1;
        check_fires(check_shape, broken.pass,
                    {"R1", broken.name(1, op), "waits for op " + std::to_string(op.id + 1)});
    }
    SECTION("an edge inside a lane") {
        Op& op = broken.op(3, "all_to_all", 1, "combine");
        broken.plan(3).after[static_cast<std::size_t>(op.after.begin)] =
            broken.op(3, "all_to_all", 0, "combine").id;
        check_fires(check_shape, broken.pass, {"R1", broken.name(3, op), "on its own lane"});
    }
    SECTION("rows beyond the buffer") {
        Op& op = broken.op(0, "linear", 2);
        std::get<Linear>(op.args).out.rows.end += 1000;
        check_fires(check_shape, broken.pass, {"R1", broken.name(0, op), "out names rows"});
    }
    SECTION("a peer that the group does not have") {
        Op& op = broken.op(1, "all_to_all");
        transfer(broken.plan(1), std::get<AllToAll>(op.args).sends, 0).peer = 4;
        check_fires(check_shape, broken.pass, {"R1", broken.name(1, op), "sends has peer 4 of 4"});
    }
    SECTION("offsets of another number of experts") {
        Op& op = broken.op(1, "expert_gemm");
        std::get<ExpertGemm>(op.args).experts.end += 1;
        check_fires(check_shape, broken.pass, {"R1", broken.name(1, op), "offsets for"});
    }
    SECTION("a rank too few") {
        broken.pass.ranks.pop_back();
        check_fires(check_shape, broken.pass, {"R1: 3 plans for 4 ranks"});
    }
}

TEST_CASE("R2: reads have writers, and ops declare what they touch") {
    SECTION("rows that were not there before the pass") {
        TestCase test = pipelined();
        test.scope = schedule::Scope::layer;
        BrokenPass broken(test);
        REQUIRE(check_writers(broken.pass) > 0);
        broken.pass.ranks[2].given.clear();
        check_fires(check_writers, broken.pass,
                    {"R2", broken.name(2, broken.op(2, "rms_norm")), "reads", "hidden[0]",
                     "no op before it has written"});
    }
    SECTION("a writer that writes a row less") {
        BrokenPass broken(pipelined());
        Op& op = broken.op(1, "local_reduce");
        auto& args = std::get<LocalReduce>(op.args);
        args.out.rows.end -= 1;
        for (std::int64_t i = op.uses.begin; i < op.uses.end; ++i) {
            BufferUse& use = broken.plan(1).uses[static_cast<std::size_t>(i)];
            if (use.access == Access::write && use.buffer == args.out.buffer) use.rows.end -= 1;
        }
        check_fires(check_writers, broken.pass,
                    {"R2", broken.name(1, broken.op(1, "all_to_all", 0, "combine")), "reads", "going_home"});
    }
    SECTION("an undeclared write") {
        BrokenPass broken(pipelined());
        Op& op = broken.op(3, "map_home");
        op.uses.end -= 1;
        check_fires(check_writers, broken.pass,
                    {"R2", broken.name(3, op), "writes", "home_index", "does not declare"});
    }
    SECTION("an undeclared read") {
        BrokenPass broken(pipelined());
        Op& op = broken.op(0, "linear", 1);
        std::get<Linear>(op.args).in.rows.end += 1;
        check_fires(check_writers, broken.pass, {"R2", broken.name(0, op), "reads", "does not declare"});
    }
}

TEST_CASE("R3: a missing edge leaves a conflict open") {
    BrokenPass broken(pipelined());
    REQUIRE(check_order(broken.pass) > 0);
    SECTION("sums that go home before they are made") {
        Op& op = broken.op(1, "all_to_all", 1, "combine");
        op.after = {};
        check_fires(check_order, broken.pass,
                    {"R3", broken.name(1, op), "reads", "going_home",
                     broken.name(1, broken.op(1, "local_reduce", 1))});
    }
    SECTION("experts that start before their rows arrived") {
        Op& op = broken.op(2, "pack_rows", 1, "compute");
        op.after = {};
        check_fires(check_order, broken.pass, {"R3", broken.name(2, op), "reads", "arrived"});
    }
    SECTION("every edge of a rank, one after another") {
        RankPlan& plan = broken.plan(0);
        std::int64_t num_edges = 0, num_fired = 0;
        for (Op& op : plan.ops)
            for (std::int64_t i = op.after.begin; i < op.after.end; ++i) {
                // The op waits for nothing instead: op 0 was long done.
                OpId& edge = plan.after[static_cast<std::size_t>(i)];
                const OpId before = edge;
                if (before == 0) continue;
                edge = 0;
                ++num_edges;
                try {
                    check_order(broken.pass);
                } catch (const Error&) {
                    ++num_fired;
                }
                edge = before;
            }
        CHECK(num_edges > 10);
        CHECK(num_fired * 10 >= num_edges * 7);  // the others are implied by two more edges
        CHECK_NOTHROW(check_order(broken.pass));
    }
}

TEST_CASE("R4: exchanges that do not match") {
    SECTION("a receiver that expects another number of rows") {
        BrokenPass broken(pipelined());
        REQUIRE(check_exchanges(broken.pass) > 0);
        Op& receiver = broken.op(2, "all_to_all", 2, "dispatch");
        transfer(broken.plan(2), std::get<AllToAll>(receiver.args).receives, 1).rows.end += 1;
        check_fires(check_exchanges, broken.pass,
                    {"R4", broken.name(1, broken.op(1, "all_to_all", 2, "dispatch")),
                     "to rank 2, whose op " + std::to_string(receiver.id) + " receives"});
    }
    SECTION("another order on one rank") {
        BrokenPass broken(pipelined());
        Op& counts = broken.op(3, "exchange_counts");
        Op& slots = broken.op(3, "all_to_all", 0, "dispatch");
        std::swap(counts.args, slots.args);
        check_fires(check_exchanges, broken.pass,
                    {"R4", broken.name(3, counts), "meets", broken.name(0, broken.op(0, "exchange_counts"))});
    }
    SECTION("a rank that does not come") {
        BrokenPass broken(pipelined());
        broken.op(1, "all_to_all", 5, "combine").args = Clear{};
        check_fires(
            check_exchanges, broken.pass,
            {"R4", broken.name(0, broken.op(0, "all_to_all", 5, "combine")), "rank 1 does not take part"});
    }
    SECTION("a collective of another layer") {
        BrokenPass broken(pipelined());
        Op& op = broken.op(2, "exchange_counts", 1);
        op.segment = broken.op(2, "exchange_counts", 0).segment;
        check_fires(check_exchanges, broken.pass, {"R4", broken.name(2, op), "meets rank 0"});
    }
    SECTION("tensor lane: reduce-scatter and all-gather") {
        BrokenPass broken(case_of("tp", 3));
        Op& op = broken.op(1, "all_gather", 2);
        transfer(broken.plan(1), std::get<AllGather>(op.args).sends, 0).rows.begin += 1;
        check_fires(check_exchanges, broken.pass, {"R4", broken.name(1, op), "bytes to rank 0"});
        broken.restore(1);
        CHECK_NOTHROW(check_exchanges(broken.pass));
        Op& scatter = broken.op(2, "reduce_scatter", 1);
        transfer(broken.plan(2), std::get<ReduceScatter>(scatter.args).receives, 1).rows.end -= 1;
        check_fires(check_exchanges, broken.pass,
                    {"R4", broken.name(1, broken.op(1, "reduce_scatter", 1)), "to rank 2, whose op"});
    }
    SECTION("a send to the wrong rank") {
        BrokenPass broken(case_of("pp", 3));
        REQUIRE(check_exchanges(broken.pass) > 0);
        Op& op = broken.op(0, "send");
        std::get<Send>(op.args).peer = 2;
        check_fires(check_exchanges, broken.pass, {"R4: rank 0, lane stage_out", "bytes"});
    }
    SECTION("a send that nobody receives") {
        BrokenPass broken(case_of("pp", 3));
        Op& op = broken.op(2, "receive", 2);
        const OpId send = broken.op(1, "send", 2).id;
        op.args = Clear{};
        check_fires(check_exchanges, broken.pass,
                    {"R4: rank 1, lane stage_out, op " + std::to_string(send), "rank 2 does not receive it"});
    }
    SECTION("a receive that nobody sends") {
        BrokenPass broken(case_of("pp", 3));
        Op& receive = broken.op(1, "receive", 2);
        broken.op(0, "send", 2).args = Clear{};
        check_fires(check_exchanges, broken.pass, {"R4", broken.name(1, receive), "rank 0 does not send it"});
    }
}

TEST_CASE("R5: rows that go astray") {
    BrokenPass broken(pipelined());
    REQUIRE(check_rows(broken.pass) > 0);
    SECTION("a row sent twice instead of its neighbour") {
        Op& op = broken.op(1, "all_to_all", 2, "dispatch");  // chunk 1: the row before is of chunk 0
        Transfer& sent = transfer(broken.plan(1), std::get<AllToAll>(op.args).sends, 0);
        REQUIRE(!sent.rows.empty());
        sent.rows = {sent.rows.begin - 1, sent.rows.end - 1};
        check_fires(check_rows, broken.pass, {"R5", broken.name(1, op), "to rank 0 once too often"});
    }
    SECTION("rows for the wrong expert") {
        Op& op = broken.op(2, "expert_gemm");
        number(broken.plan(2), std::get<ExpertGemm>(op.args).offsets.begin + 1) += 1;
        check_fires(check_rows, broken.pass, {"R5", broken.name(2, op), "of expert_in"});
    }
    SECTION("rows computed twice") {
        // The second pair of GEMMs works on the rows of the first once more.
        RankPlan& plan = broken.plan(0);
        const ExpertGemm first = broken.args<ExpertGemm>(0, "expert_gemm", 0);
        Op& again_up = broken.op(0, "expert_gemm", 2);
        std::get<ExpertGemm>(again_up.args) = first;
        auto& swiglu = std::get<Swiglu>(plan.ops[static_cast<std::size_t>(again_up.id + 1)].args);
        const Range rows{number(plan, first.offsets.begin), number(plan, first.offsets.end - 1)};
        swiglu.in.rows = swiglu.out.rows = rows;
        Op& again = broken.op(0, "expert_gemm", 3);
        std::get<ExpertGemm>(again.args) = broken.args<ExpertGemm>(0, "expert_gemm", 1);
        check_fires(check_rows, broken.pass, {"R5", broken.name(0, again), "a second time"});
    }
    SECTION("an expert that was left out") {
        Op& op = broken.op(3, "expert_gemm", 1);
        op.args =
            Swiglu{{std::get<ExpertGemm>(op.args).in, {0, 0}}, {std::get<ExpertGemm>(op.args).out, {0, 0}}};
        check_fires(check_rows, broken.pass,
                    {"R5", broken.name(3, broken.op(3, "local_reduce")), "which no expert has computed"});
    }
    SECTION("chunks that another rank divides elsewhere") {
        const Range bounds = broken.args<MapRows>(2, "map_rows").chunk_bounds;
        number(broken.plan(2), bounds.begin + 1) += 1;
        broken.pass.num_chunks = 0;  // by load: any division will do, as long as all have the same
        check_fires(check_rows, broken.pass, {"R5: rank 2", "has other chunks than another op or rank"});
        broken.pass.num_chunks = 3;
        check_fires(check_rows, broken.pass, {"R5: rank 2", "maps other chunks than the pass has"});
    }
    SECTION("chunks that leave out an expert") {
        const Range bounds = broken.args<MapRows>(0, "map_rows").chunk_bounds;
        number(broken.plan(0), bounds.begin + 3) -= 1;
        check_fires(check_rows, broken.pass, {"R5: rank 0", "that are not its experts in order"});
    }
    SECTION("a sum that goes to another rank") {
        RankPlan& plan = broken.plan(0);
        Op& op = broken.op(0, "all_to_all", 0, "combine");
        const Range sends = std::get<AllToAll>(op.args).sends;
        Transfer& to_first = transfer(plan, sends, 1);
        REQUIRE(!to_first.rows.empty());
        to_first.rows = {to_first.rows.begin - 1, to_first.rows.end - 1};
        check_fires(check_rows, broken.pass, {"R5", broken.name(0, op), "takes a sum of token", "to rank 2"});
    }
    SECTION("a row that stays in another's place") {
        Op& op = broken.op(1, "pack_rows", 0, "dispatch");
        Stay& stay = std::get<PackRows>(op.args).stay;
        REQUIRE(!stay.rows.empty());
        stay.to.rows = {stay.to.rows.begin + 1, stay.to.rows.end + 1};
        check_fires(check_rows, broken.pass, {"R5", "rank 1"});
    }
    SECTION("a sum that stays although it is for another rank") {
        Op& op = broken.op(2, "local_reduce", 1);
        Stay& stay = std::get<LocalReduce>(op.args).stay;
        REQUIRE(!stay.rows.empty());
        stay.rows = {stay.rows.begin - 1, stay.rows.end - 1};
        check_fires(check_rows, broken.pass, {"R5", broken.name(2, op), "takes a sum of token", "to rank 2"});
    }
    SECTION("more rows stay than there is place for") {
        Op& op = broken.op(2, "local_reduce", 1);
        std::get<LocalReduce>(op.args).stay.to.rows.end -= 1;
        check_fires(check_rows, broken.pass, {"R5", broken.name(2, op), "rows stay as"});
    }
    SECTION("rows that nobody sums at home") {
        broken.op(2, "unpack_sum", 1).args = Clear{};
        check_fires(check_rows, broken.pass, {"R5: rank 2, experts, layer 2: 0 of"});
    }
    SECTION("another dedup or combine than the pass has") {
        broken.args<Route>(1, "route").dedup = false;
        check_fires(check_rows, broken.pass, {"R5", broken.name(1, broken.op(1, "route")), "dedup"});
    }
    SECTION("rows that the gate did not choose") {
        broken.pass.gates[0].ids[3].pop_back();
        check_fires(check_rows, broken.pass, {"R5", broken.name(3, broken.op(3, "gate")), "ids were chosen"});
    }
    SECTION("other choices than the plan was made for") {
        auto& ids = broken.pass.gates[1].ids[0];
        std::int32_t& id = ids[0];
        for (id = 0; std::count(ids.begin(), ids.begin() + 3, id) > 1;) ++id;
        check_fires(check_rows, broken.pass, {"R5", "layer 2"});
    }
}

TEST_CASE("R5: an exchange of rows, shifted by a row, is noticed") {
    for (const bool dedup : {true, false}) {
        TestCase test = pipelined(3);
        test.layers = 2;
        test.schedule.dedup = dedup;
        test.schedule.combine = dedup ? schedule::Combine::per_chunk : schedule::Combine::per_token;
        BrokenPass broken(test);
        std::int64_t num_shifted = 0, num_noticed = 0;
        for (std::int64_t rank = 0; rank < 3; ++rank)
            for (Transfer& moved : broken.plan(rank).transfers) {
                if (moved.rows.empty()) continue;
                for (const std::int64_t by : {-1, 1}) {
                    moved.rows = {moved.rows.begin + by, moved.rows.end + by};
                    ++num_shifted;
                    try {
                        check_all(broken.pass);
                    } catch (const Error&) {
                        ++num_noticed;
                    }
                    moved.rows = {moved.rows.begin - by, moved.rows.end - by};
                }
            }
        CHECK(num_shifted > 150);
        // All but the rare shift to a copy of the same token's row.
        CHECK(num_noticed >= num_shifted - 1);
        CHECK_NOTHROW(check_all(broken.pass));
    }
}

TEST_CASE("R6: a rank that needs more memory than there is") {
    BrokenPass broken(case_of("pp", 2));
    const std::int64_t most = std::max(predicted_bytes(broken.plan(0)), predicted_bytes(broken.plan(1)));
    broken.pass.bytes_per_rank = most;
    CHECK(check_memory(broken.pass) > 0);
    broken.pass.bytes_per_rank = most - 1;
    const std::int64_t rank = predicted_bytes(broken.plan(0)) == most ? 0 : 1;
    check_fires(check_memory, broken.pass,
                {"R6: rank " + std::to_string(rank) + " needs " + std::to_string(most) + " bytes of"},
                Exit::resource);
}

TEST_CASE("R7: an op that the executor does not know") {
    BrokenPass broken(pipelined());
    CHECK(check_support(broken.pass) > 0);
    Op& op = broken.op(0, "map_home");
    broken.pass.supported.reset(op.args.index());
    check_fires(check_support, broken.pass, {"R7", broken.name(0, op)});
}

TEST_CASE("R8: experts that compute more, less or in another layer than the model") {
    BrokenPass broken(pipelined());
    CHECK(check_flops(broken.pass) > 0);
    SECTION("a row too many") {
        const Range offsets = broken.args<ExpertGemm>(2, "expert_gemm").offsets;
        number(broken.plan(2), offsets.end - 1) += 1;
        check_fires(check_flops, broken.pass, {"R8: layer 1", "FLOPs (by rank: "});
    }
    SECTION("a GEMM that is missing") {
        broken.op(1, "expert_gemm", 1).args = Clear{};
        check_fires(check_flops, broken.pass, {"R8: layer 1"});
    }
    SECTION("a layer that is missing") {
        broken.pass.num_moe_layers += 1;
        check_fires(check_flops, broken.pass, {"R8: experts compute in 2 layers, 3 layers have experts"});
    }
    SECTION("another batch") {
        broken.pass.num_tokens += 1;
        check_fires(check_flops, broken.pass, {"R8"});
    }
}
