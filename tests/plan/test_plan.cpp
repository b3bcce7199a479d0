// What can be read off a plan.
#include "plan/builder.hpp"
#include "tests/catch.hpp"

using namespace eps::plan;

TEST_CASE("an activation is the Swiglu right behind a product of gate and up, of the same rows") {
    PlanBuilder builder;
    const LaneId compute = builder.lane("compute", false), other = builder.lane("other", false);
    const BufferId in = builder.buffer({.name = "in", .cols = 8}),
                   up = builder.buffer({.name = "up", .cols = 4}),
                   act = builder.buffer({.name = "act", .cols = 2});
    builder.begin_segment({});
    for (const std::int64_t row : {2, 5, 9}) builder.number(row);
    const auto followed = [&](ExpertWeight which, LaneId lane, const OpArgs& next, bool waits = false) {
        // Something on the other lane that the op behind the product has to wait for.
        if (waits) builder.add(other, Clear{{act, {0, 9}}}, {{act, {0, 9}, Access::write}});
        const OpId product =
            builder.add(compute, ExpertGemm{in, 0, up, {0, 2}, {0, 3}, GemmKind::group, which}, {});
        builder.add(lane, next, {{act, {0, 9}, Access::write}});
        const RankPlan& plan = builder.plan();
        const Swiglu* found = activation_of(plan, plan.ops[static_cast<std::size_t>(product)]);
        CHECK((found == nullptr || found == std::get_if<Swiglu>(&plan.ops.back().args)));
        return found != nullptr;
    };
    const Swiglu whole{{up, {2, 9}}, {act, {2, 9}}};
    CHECK(followed(ExpertWeight::gate_up, compute, whole));
    CHECK(!followed(ExpertWeight::down, compute, whole));
    CHECK(!followed(ExpertWeight::gate_up, compute, Clear{{act, {2, 9}}}));
    CHECK(!followed(ExpertWeight::gate_up, compute, Swiglu{{in, {2, 9}}, {act, {2, 9}}}));
    CHECK(!followed(ExpertWeight::gate_up, compute, Swiglu{{up, {2, 5}}, {act, {2, 5}}}));
    CHECK(!followed(ExpertWeight::gate_up, compute, Swiglu{{up, {2, 9}}, {act, {0, 7}}}));
    CHECK(!followed(ExpertWeight::gate_up, compute, whole, true));
    CHECK(!followed(ExpertWeight::gate_up, other, whole));

    const OpId last = builder.add(
        compute, ExpertGemm{in, 0, up, {0, 2}, {0, 3}, GemmKind::group, ExpertWeight::gate_up}, {});
    CHECK(activation_of(builder.plan(), builder.plan().ops[static_cast<std::size_t>(last)]) == nullptr);
}
