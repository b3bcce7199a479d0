#include "base/error.hpp"
#include "schedule/strategies.hpp"
#include "tests/catch.hpp"

#include <set>

using namespace eps;
using namespace eps::schedule;
using placement::Placement;

namespace {

Placement placement_of(const std::string& name, std::int64_t world_size, const std::string& base = "ep") {
    const Strategy* strategy = find_strategy(name);
    REQUIRE(strategy != nullptr);
    return strategy->placement(world_size, base);
}

}  // namespace

TEST_CASE("the strategies and their placements") {
    CHECK(placement_of("ep", 4) == Placement{.attention_dp = 4, .ep = 4});
    CHECK(placement_of("dp", 4) == Placement{.attention_dp = 4, .edp = 4});
    CHECK(placement_of("tp", 4) == Placement{.attention_tp = 4, .etp = 4});
    CHECK(placement_of("pp", 4) == Placement{.pp = 4});
    CHECK(placement_of("tp_ep", 4) == Placement{.attention_tp = 4, .ep = 4});
    for (const char* name : {"eps", "eps_serial"}) {
        CHECK(placement_of(name, 4) == placement_of("ep", 4));
        CHECK(placement_of(name, 4, "tp_ep") == placement_of("tp_ep", 4));
    }
}

TEST_CASE("every strategy fits every world, every base") {
    std::set<std::string> names;
    for (const Strategy& strategy : strategies()) {
        CHECK(names.insert(strategy.name).second);
        CHECK(find_strategy(strategy.name) == &strategy);
        CHECK_FALSE(strategy.about.empty());
        for (std::int64_t world_size = 1; world_size <= 8; ++world_size)
            for (const std::string& base : bases())
                CHECK_NOTHROW(check_placement(strategy.placement(world_size, base), world_size));
    }
    CHECK(find_strategy("epsilon") == nullptr);
    CHECK(find_strategy("placement") == nullptr);
}

TEST_CASE("schedules before a case sets anything") {
    CHECK(find_strategy("ep")->schedule == Schedule{});
    const Schedule& eps = find_strategy("eps")->schedule;
    CHECK(eps.chunk_by == ChunkBy::expert);
    CHECK_FALSE(eps.chunks.has_value());
    CHECK(eps.overlap);
    const Schedule& eps_serial = find_strategy("eps_serial")->schedule;
    CHECK(eps_serial.chunk_by == ChunkBy::expert);
    CHECK_FALSE(eps_serial.overlap);
    CHECK(default_schedule(*find_strategy("pp"), placement_of("pp", 4)).micro_batches == 4);
    CHECK(default_schedule(*find_strategy("ep"), placement_of("ep", 4)).micro_batches == 1);
}

TEST_CASE("a free placement uses the keys that mean something there") {
    const Strategy replicated = free_placement({.attention_tp = 2, .attention_dp = 2, .etp = 2, .edp = 2});
    CHECK(replicated.name == "placement");
    CHECK_FALSE(replicated.uses("dedup"));
    CHECK_FALSE(replicated.uses("combine"));
    CHECK_FALSE(replicated.uses("overlap"));
    CHECK_FALSE(replicated.uses("oracle"));
    CHECK_FALSE(replicated.uses("chunks"));
    CHECK(replicated.uses("gemm"));
    const Strategy travelling = free_placement({.pp = 2, .attention_tp = 2, .ep = 2});
    CHECK(travelling.uses("dedup"));
    CHECK(travelling.uses("overlap"));
    CHECK(travelling.uses("oracle"));
    CHECK(travelling.uses("chunks"));
    CHECK(travelling.uses("combine"));
    CHECK_FALSE(travelling.uses("base"));
}
