// The edges that the builder derives, one hazard after another, and against brute force on random ops.
#include "plan/builder.hpp"
#include "tests/catch.hpp"
#include "tests/plan/random_ops.hpp"

#include <algorithm>
#include <set>

using namespace eps;
using namespace eps::plan;
using namespace plan_tests;

namespace {

// A builder of two exchange lanes beside a compute lane and two buffers.
struct Small {
    PlanBuilder builder;
    LaneId a = builder.lane("a", false), b = builder.lane("b", true), c = builder.lane("c", true);
    BufferId x = builder.buffer({.name = "x", .cols = 4});
    BufferId y = builder.buffer({.name = "y", .cols = 4});

    Small() { builder.begin_segment({}); }
    OpId add(LaneId lane, std::initializer_list<BufferUse> uses) { return builder.add(lane, Clear{}, uses); }
    std::vector<OpId> after(OpId op) const {
        const RankPlan& plan = builder.plan();
        const Range range = plan.ops[static_cast<std::size_t>(op)].after;
        return {plan.after.begin() + range.begin, plan.after.begin() + range.end};
    }
};

using Ids = std::vector<OpId>;

bool conflicts(const BufferUse& p, const BufferUse& q) {
    return p.buffer == q.buffer && !p.rows.empty() && !q.rows.empty() && overlaps(p.rows, q.rows) &&
           (p.access == Access::write || q.access == Access::write);
}

bool conflicts(const RandomOp& p, const RandomOp& q) {
    return std::ranges::any_of(p.uses, [&](const BufferUse& u) {
        return std::ranges::any_of(q.uses, [&](const BufferUse& v) { return conflicts(u, v); });
    });
}

// before[j] holds every op that is done before op j starts, by the order of lanes and the edges alone.
std::vector<std::set<OpId>> happens_before(const RankPlan& plan) {
    std::vector<std::set<OpId>> before(plan.ops.size());
    for (const Op& op : plan.ops) {
        std::set<OpId>& mine = before[static_cast<std::size_t>(op.id)];
        const auto take = [&](OpId earlier) {
            mine.insert(earlier);
            const std::set<OpId>& others = before[static_cast<std::size_t>(earlier)];
            mine.insert(others.begin(), others.end());
        };
        for (OpId earlier = op.id - 1; earlier >= 0; --earlier)
            if (plan.ops[static_cast<std::size_t>(earlier)].lane == op.lane) {
                take(earlier);
                break;
            }
        for (std::int64_t i = op.after.begin; i < op.after.end; ++i)
            take(plan.after[static_cast<std::size_t>(i)]);
    }
    return before;
}

}  // namespace

TEST_CASE("a reader waits for the last writer, a writer for readers and writer") {
    Small plan;
    const OpId write = plan.add(plan.a, {writes({plan.x, {0, 8}})});
    const OpId read_b = plan.add(plan.b, {reads({plan.x, {0, 8}})});
    const OpId read_c = plan.add(plan.c, {reads({plan.x, {0, 8}})});
    CHECK(plan.after(write).empty());
    CHECK(plan.after(read_b) == Ids{write});
    CHECK(plan.after(read_c) == Ids{write});
    const OpId again = plan.add(plan.a, {writes({plan.x, {0, 8}})});
    CHECK(plan.after(again) == Ids{read_b, read_c});
    const OpId by_another = plan.add(plan.b, {writes({plan.x, {0, 8}})});
    CHECK(plan.after(by_another) == Ids{again});
}

TEST_CASE("rows that do not meet need no edge") {
    Small plan;
    const OpId first = plan.add(plan.a, {writes({plan.x, {0, 4}})});
    const OpId second = plan.add(plan.a, {writes({plan.x, {4, 8}})});
    CHECK(plan.after(plan.add(plan.b, {reads({plan.x, {0, 4}})})) == Ids{first});
    CHECK(plan.after(plan.add(plan.c, {reads({plan.x, {8, 9}}), reads({plan.y, {0, 8}})})).empty());
    CHECK(plan.after(plan.add(plan.c, {reads({plan.x, {2, 6}})})) == Ids{second});
    CHECK(plan.after(plan.add(plan.b, {writes({plan.x, {8, 12}})})) == Ids{3});  // the reader of the gap
    CHECK(plan.after(plan.add(plan.a, {reads({plan.x, {3, 3}})})).empty());
}

TEST_CASE("rows that were there before the pass keep their readers") {
    Small plan;
    plan.add(plan.a, {writes({plan.x, {4, 6}})});
    const OpId read = plan.add(plan.b, {reads({plan.x, {0, 10}})});
    CHECK(plan.after(read) == Ids{0});
    CHECK(plan.after(plan.add(plan.a, {writes({plan.x, {0, 1}})})) == Ids{read});
    CHECK(plan.after(plan.add(plan.c, {writes({plan.x, {9, 10}})})) == Ids{read});
}

TEST_CASE("a write in the middle leaves both ends to the writer before") {
    Small plan;
    const OpId whole = plan.add(plan.a, {writes({plan.x, {0, 9}})});
    const OpId middle = plan.add(plan.b, {writes({plan.x, {3, 6}})});
    CHECK(plan.after(middle) == Ids{whole});
    CHECK(plan.after(plan.add(plan.c, {reads({plan.x, {0, 3}})})) == Ids{whole});
    CHECK(plan.after(plan.add(plan.c, {reads({plan.x, {6, 9}})})).empty());  // waited for already
    CHECK(plan.after(plan.add(plan.c, {reads({plan.x, {5, 7}})})) == Ids{middle});
}

TEST_CASE("of several edges to a lane the latest is kept, and none twice") {
    Small plan;
    plan.add(plan.a, {writes({plan.x, {0, 4}})});
    const OpId later = plan.add(plan.a, {writes({plan.y, {0, 4}})});
    const OpId both = plan.add(plan.b, {reads({plan.x, {0, 4}}), reads({plan.y, {0, 4}})});
    CHECK(plan.after(both) == Ids{later});
    CHECK(plan.after(plan.add(plan.b, {reads({plan.x, {0, 4}})})).empty());
}

TEST_CASE("an op may read what it writes, in any order of its uses") {
    Small plan;
    const OpId first = plan.add(plan.a, {writes({plan.x, {0, 4}})});
    const OpId in_place = plan.add(plan.b, {writes({plan.x, {0, 4}}), reads({plan.x, {0, 4}})});
    CHECK(plan.after(in_place) == Ids{first});
    const OpId other_order = plan.add(plan.a, {reads({plan.x, {0, 4}}), writes({plan.x, {0, 4}})});
    CHECK(plan.after(other_order) == Ids{in_place});
    CHECK(plan.after(plan.add(plan.c, {reads({plan.x, {0, 4}})})) == Ids{other_order});
}

TEST_CASE("buffers given before the pass make no edges; missing buffers are left out") {
    Small plan;
    const BufferId weight =
        plan.builder.buffer({.name = "w", .kind = BufferKind::weight, .cols = 4, .rows = 7});
    plan.add(plan.a, {reads({weight, {0, 7}}), reads({kNoBuffer, {0, 7}})});
    plan.add(plan.b, {reads({weight, {0, 7}})});
    const RankPlan& built = plan.builder.plan();
    CHECK(built.after.empty());
    CHECK(built.uses.size() == 2);
    CHECK(built.buffers[static_cast<std::size_t>(weight)].rows == 7);
}

TEST_CASE("a work buffer has the most rows that any op needs") {
    Small plan;
    plan.add(plan.a, {writes({plan.x, {2, 8}}), reads({plan.y, {0, 3}})});
    plan.add(plan.a, {writes({plan.x, {0, 4}})});
    CHECK(plan.builder.plan().buffers[0].rows == 8);
    CHECK(plan.builder.plan().buffers[1].rows == 3);
    CHECK(plan.builder.plan().buffers[0].bytes() == 8 * 4 * 4);
}

TEST_CASE("in a serial stretch each op waits for the one before it") {
    Small plan;
    plan.add(plan.a, {});
    plan.builder.set_serial(true);
    CHECK(plan.after(plan.add(plan.b, {})) == Ids{0});
    CHECK(plan.after(plan.add(plan.b, {})).empty());  // its own lane
    CHECK(plan.after(plan.add(plan.c, {})) == Ids{2});
    CHECK(plan.after(plan.add(plan.a, {})) == Ids{3});
    plan.builder.set_serial(false);
    CHECK(plan.after(plan.add(plan.b, {})).empty());
}

TEST_CASE("ops know their segment; a new pass begins with nothing but lanes and buffers") {
    Small plan;
    plan.add(plan.a, {writes({plan.x, {0, 4}})});
    plan.builder.begin_segment({SegmentKind::experts, 3, 1});
    plan.builder.number(5);
    plan.builder.transfer(1, {0, 2});
    plan.add(plan.b, {reads({plan.x, {0, 4}})});
    CHECK(plan.builder.plan().ops[0].segment == 0);
    CHECK(plan.builder.plan().ops[1].segment == 1);
    CHECK(plan.builder.plan().segments[1].layer == 3);
    plan.builder.set_serial(true);
    plan.builder.begin_pass();
    const RankPlan& built = plan.builder.plan();
    CHECK((built.ops.empty() && built.segments.empty() && built.uses.empty() && built.after.empty()));
    CHECK((built.transfers.empty() && built.numbers.empty()));
    CHECK((built.lanes.size() == 3 && built.buffers.size() == 2));
    plan.builder.begin_segment({});
    plan.add(plan.a, {});
    CHECK(plan.after(plan.add(plan.b, {reads({plan.x, {0, 4}})})).empty());
}

TEST_CASE("a seventh lane is refused") {
    PlanBuilder builder;
    for (std::int64_t i = 0; i < kMaxLanes; ++i) builder.lane("lane", false);
    CHECK_THROWS_WITH(builder.lane("one more", false), contains_text("kMaxLanes"));
}

TEST_CASE("with room, the flat arrays stay where they are") {
    Small plan;
    CHECK_FALSE(plan.builder.has_room(100));
    plan.builder.make_room(100);
    REQUIRE(plan.builder.has_room(100));
    const Op* ops = plan.builder.plan().ops.data();
    const BufferUse* uses = plan.builder.plan().uses.data();
    for (std::int64_t i = 0; i < 100; ++i) plan.add(plan.a, {reads({plan.x, {0, 1}})});
    CHECK(plan.builder.plan().ops.data() == ops);
    CHECK(plan.builder.plan().uses.data() == uses);
}

TEST_CASE("every conflict of random ops is ordered, by edges to other lanes that say something new") {
    std::int64_t num_conflicts = 0;
    for (std::uint64_t number = 0; number < 600; ++number) {
        const OpSequence sequence = random_sequence(number, {.serial_stretches = true});
        PlanBuilder builder;
        declare(sequence, builder);
        add_all(sequence, builder);
        const RankPlan& plan = builder.plan();
        const auto before = happens_before(plan);
        INFO("sequence " << number);
        for (std::size_t j = 0; j < sequence.ops.size(); ++j) {
            for (std::size_t i = 0; i < j; ++i) {
                if (!conflicts(sequence.ops[i], sequence.ops[j])) continue;
                INFO("ops " << i << " and " << j);
                REQUIRE(before[j].contains(static_cast<OpId>(i)));
                ++num_conflicts;
            }
            if (sequence.ops[j].serial && j > 0) REQUIRE(before[j].contains(static_cast<OpId>(j - 1)));
        }
        std::vector<std::set<OpId>> waited_for(static_cast<std::size_t>(kMaxLanes));  // per lane
        for (const Op& op : plan.ops) {
            std::set<LaneId> lanes{op.lane};
            std::set<OpId>& known = waited_for[static_cast<std::size_t>(op.lane)];
            for (std::int64_t i = op.after.begin; i < op.after.end; ++i) {
                const OpId earlier = plan.after[static_cast<std::size_t>(i)];
                const LaneId lane = plan.ops[static_cast<std::size_t>(earlier)].lane;
                REQUIRE(earlier < op.id);
                REQUIRE(lanes.insert(lane).second);  // another lane, and one edge to each
                REQUIRE(std::ranges::none_of(known, [&](OpId k) {
                    return k >= earlier && plan.ops[static_cast<std::size_t>(k)].lane == lane;
                }));
                known.insert(earlier);
            }
        }
    }
    CHECK(num_conflicts > 10000);
}

TEST_CASE("where ranges are equal or disjoint, every edge has a conflict for its reason") {
    std::int64_t num_edges = 0;
    for (std::uint64_t number = 0; number < 300; ++number) {
        const OpSequence sequence = random_sequence(number, {.block_rows = 3, .one_block = true});
        PlanBuilder builder;
        declare(sequence, builder);
        add_all(sequence, builder);
        const RankPlan& plan = builder.plan();
        for (const Op& op : plan.ops)
            for (std::int64_t i = op.after.begin; i < op.after.end; ++i) {
                const OpId earlier = plan.after[static_cast<std::size_t>(i)];
                INFO("sequence " << number << ", ops " << earlier << " and " << op.id);
                REQUIRE(conflicts(sequence.ops[static_cast<std::size_t>(earlier)],
                                  sequence.ops[static_cast<std::size_t>(op.id)]));
                ++num_edges;
            }
    }
    CHECK(num_edges > 1000);
}

TEST_CASE("a second pass of the same builder is like the first") {
    for (std::uint64_t number = 0; number < 50; ++number) {
        const OpSequence sequence = random_sequence(number, {.serial_stretches = true});
        PlanBuilder once, twice;
        declare(sequence, once);
        declare(sequence, twice);
        add_all(sequence, once);
        add_all(sequence, twice);
        twice.begin_pass();
        add_all(sequence, twice);
        REQUIRE(once.plan().after == twice.plan().after);
        REQUIRE(once.plan().ops.size() == twice.plan().ops.size());
        for (std::size_t i = 0; i < once.plan().ops.size(); ++i)
            REQUIRE(once.plan().ops[i].after == twice.plan().ops[i].after);
    }
}
