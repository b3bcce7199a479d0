// A warm lowering allocates nothing, and lowers the same again.
#include "plan/hash.hpp"
#include "tests/catch.hpp"
#include "tests/count_allocations.hpp"
#include "tests/schedule/lowered_pass.hpp"

using namespace schedule_tests;

TEST_CASE("a whole pass is lowered again without an allocation, to the same plan") {
    for (const char* strategy : {"ep", "dp", "tp", "pp", "tp_ep", "eps", "eps_serial"}) {
        INFO(strategy);
        LoweredPass lowered(case_of(strategy, 3));
        for (std::int64_t rank = 0; rank < 3; ++rank) {
            const std::uint64_t hash = eps::plan::hash_of(lowered.plan(rank));
            REQUIRE(lowered.plan(rank).ops.size() > 10);
            const std::int64_t before = num_allocations;
            lowered.lower_again(rank);
            const std::int64_t after = num_allocations;
            CHECK(after == before);
            CHECK(eps::plan::hash_of(lowered.plan(rank)) == hash);
        }
    }
}

TEST_CASE("no segment appends more entries than the lowering says") {
    for (const std::int64_t world_size : {1, 2, 4, 8})
        for (const char* strategy : {"ep", "dp", "tp", "pp", "tp_ep", "eps", "eps_serial"}) {
            TestCase test = case_of(strategy, world_size);
            if (test.schedule.chunk_by == eps::schedule::ChunkBy::expert) test.schedule.chunks = 20;
            const LoweredPass lowered(test);
            for (std::int64_t rank = 0; rank < world_size; ++rank) {
                INFO(strategy << ", rank " << rank << " of " << world_size);
                const eps::plan::RankPlan& plan = lowered.plan(rank);
                std::vector<std::int64_t> ops(plan.segments.size()), uses(ops), edges(ops);
                for (const eps::plan::Op& op : plan.ops) {
                    const auto segment = static_cast<std::size_t>(op.segment);
                    ops[segment] += 1;
                    uses[segment] += op.uses.size();
                    edges[segment] += op.after.size();
                }
                const std::int64_t most = lowered.most_entries(rank);
                REQUIRE(*std::max_element(ops.begin(), ops.end()) <= most);
                REQUIRE(*std::max_element(uses.begin(), uses.end()) <= most);
                REQUIRE(*std::max_element(edges.begin(), edges.end()) <= most);
                REQUIRE(lowered.most_appended(rank) <= most);
            }
        }
}
