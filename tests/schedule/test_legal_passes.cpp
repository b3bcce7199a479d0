// Every strategy, world and schedule lowers to a legal pass.
#include "tests/catch.hpp"
#include "tests/schedule/lowered_pass.hpp"

#include <string>

using namespace eps;
using namespace schedule_tests;
using schedule::Combine;
using schedule::Scope;

namespace {

/// Checks the pass and that something was checked.
void check_legal(const TestCase& test, const std::string& about) {
    INFO(about << ": " << to_string(test.placement));
    const LoweredPass lowered(test);
    const plan::PassUnderCheck pass = lowered.under_check();
    REQUIRE_NOTHROW(plan::check_all(pass));
    REQUIRE(plan::check_all(pass) > 0);
    const std::int64_t shards = std::min(test.placement.etp, lowered.spec().moe_intermediate_size);
    REQUIRE(plan::check_rows(pass) ==
            pass.num_tokens * lowered.spec().num_experts_per_tok * pass.num_moe_layers * shards);
    REQUIRE(plan::check_flops(pass) > 0);
    if (test.placement.world() > test.placement.edp || test.placement.attention_tp > 1)
        REQUIRE(plan::check_exchanges(pass) > 0);
}

const std::int64_t kWorlds[] = {1, 2, 3, 4, 8};

}  // namespace

TEST_CASE("strategies without chunks, in every world") {
    for (const char* strategy : {"ep", "dp", "tp", "pp", "tp_ep"})
        for (const std::int64_t world_size : kWorlds) {
            TestCase test = case_of(strategy, world_size);
            check_legal(test, strategy);
            if (!test.placement.rows_replicated()) {
                test.schedule.overlap = true;
                check_legal(test, std::string(strategy) + " overlapped");
                test.schedule.dedup = false;
                check_legal(test, std::string(strategy) + " overlapped, no dedup");
                test.schedule.oracle = true;
                check_legal(test, std::string(strategy) + " overlapped, no dedup, oracle");
            }
        }
}

TEST_CASE("experts in chunks: any number of them, dedup, combine and overlap") {
    for (const char* base : {"ep", "tp_ep"})
        for (const std::int64_t world_size : kWorlds)
            for (const std::int64_t chunks : {1, 2, 3, 5, 20})
                for (const bool dedup : {true, false})
                    for (const Combine combine : {Combine::per_token, Combine::per_chunk})
                        for (const char* strategy : {"eps", "eps_serial"}) {
                            TestCase test = case_of(strategy, world_size, base);
                            test.schedule.chunks = chunks;
                            test.schedule.dedup = dedup;
                            test.schedule.combine = combine;
                            check_legal(test, std::string(strategy) + " of " + base + ", " +
                                                  std::to_string(chunks) + " chunks" +
                                                  (dedup ? ", dedup" : "") +
                                                  (combine == Combine::per_chunk ? ", per chunk" : ""));
                        }
}

TEST_CASE("chunks by themselves, and routing known ahead") {
    TestCase test = case_of("eps", 4);
    check_legal(test, "auto");
    test.schedule.oracle = true;
    check_legal(test, "auto, oracle");
    test.forced_routing = true;
    check_legal(test, "auto, oracle, forced");
}

TEST_CASE("the smaller scopes") {
    for (const Scope scope : {Scope::layer, Scope::moe})
        for (const char* strategy : {"ep", "dp", "tp", "tp_ep", "eps", "eps_serial"})
            for (const std::int64_t world_size : kWorlds) {
                TestCase test = case_of(strategy, world_size);
                test.scope = scope;
                check_legal(test, std::string(strategy) + (scope == Scope::layer ? ", layer" : ", moe"));
            }
    TestCase pipeline = case_of("pp", 3);
    pipeline.scope = Scope::layer;
    check_legal(pipeline, "pp, layer");
}

TEST_CASE("placements that no strategy names") {
    const placement::Placement placements[] = {
        {.attention_tp = 2, .attention_dp = 2, .etp = 2, .ep = 2},  // folded alike
        {.attention_tp = 2, .attention_dp = 2, .ep = 4},
        {.attention_tp = 4, .etp = 2, .ep = 2},
        {.attention_dp = 4, .etp = 4},  // rows travel to every shard
        {.attention_dp = 4, .etp = 2, .edp = 2},
        {.attention_tp = 2, .attention_dp = 2, .etp = 2, .edp = 2},  // replicated in pairs
        {.attention_dp = 4, .ep = 2, .edp = 2},
        {.attention_tp = 2, .edp = 2},  // a block of one
        {.attention_tp = 3, .attention_dp = 2, .etp = 2, .ep = 3},
        {.pp = 2, .attention_dp = 2, .ep = 2},
        {.pp = 2, .attention_tp = 2, .ep = 2},
        {.pp = 2, .attention_tp = 2, .etp = 2},
        {.pp = 5},  // more stages than layers
    };
    for (const placement::Placement& placement : placements)
        for (const bool overlap : {false, true})
            for (const std::int64_t chunks : {1, 3}) {
                TestCase test;
                test.placement = placement;
                test.schedule.overlap = overlap;
                test.schedule.chunk_by = schedule::ChunkBy::expert;
                test.schedule.chunks = chunks;
                test.schedule.micro_batches = placement.pp;
                check_legal(test, overlap ? "overlapped" : "serial");
            }
}

TEST_CASE("sizes that nothing divides") {
    for (const char* strategy : {"ep", "tp", "tp_ep", "eps"})
        for (const std::int64_t world_size : {4, 8}) {
            TestCase test = case_of(strategy, world_size);
            test.model = R"({"num_attention_heads": 3})";
            test.lengths = {7, 1, 4};
            check_legal(test, std::string(strategy) + ", 3 heads, 3 sequences");
            test.model = R"({"n_routed_experts": 3, "num_experts_per_tok": 2, "topk_method": "greedy"})";
            check_legal(test, std::string(strategy) + ", 3 experts");
            test.model = R"({"moe_intermediate_size": 3, "n_shared_experts": 1, "intermediate_size": 2})";
            check_legal(test, std::string(strategy) + ", widths below the number of ranks");
            test.model = R"({"n_shared_experts": 0})";
            check_legal(test, std::string(strategy) + ", no shared experts");
        }
    TestCase shards;
    shards.placement = {.attention_dp = 8, .etp = 4, .ep = 2};
    shards.model = R"({"moe_intermediate_size": 3, "n_shared_experts": 1})";
    check_legal(shards, "shards without columns");
    TestCase one_token = case_of("eps", 8, "tp_ep");
    one_token.lengths = {1};
    check_legal(one_token, "one token");
    TestCase every_expert = case_of("eps", 4);
    every_expert.model = R"({"num_experts_per_tok": 15, "topk_method": "greedy"})";
    check_legal(every_expert, "every expert for every token");
    TestCase others = case_of("ep", 2);
    others.layers = 8;
    others.model =
        R"({"moe_layer_freq": 2, "q_lora_rank": null, "attention_bias": true, "tie_word_embeddings": true})";
    check_legal(others, "every second layer");
}
