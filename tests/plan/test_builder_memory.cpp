// A warm builder allocates nothing.
#include "tests/catch.hpp"
#include "tests/count_allocations.hpp"
#include "tests/plan/random_ops.hpp"

using namespace eps::plan;
using namespace plan_tests;

TEST_CASE("the second pass of a builder allocates nothing") {
    std::int64_t when_cold = 0, when_warm = 0;
    for (std::uint64_t number = 0; number < 100; ++number) {
        const OpSequence sequence = random_sequence(number, {});
        PlanBuilder builder;
        declare(sequence, builder);
        const std::int64_t before = num_allocations;
        add_all(sequence, builder);
        const std::int64_t between = num_allocations;
        builder.begin_pass();
        add_all(sequence, builder);
        when_cold += between - before;
        when_warm += num_allocations - between;
    }
    CHECK(when_cold > 0);
    CHECK(when_warm == 0);
}
