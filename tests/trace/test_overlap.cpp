#include "base/error.hpp"
#include "plan/op.hpp"
#include "tests/catch.hpp"
#include "trace/overlap.hpp"

#include <cmath>
#include <limits>
#include <string_view>
#include <vector>

namespace eps::trace {
namespace {

const std::vector<plan::Lane> kLanes = {{"compute", false}, {"dispatch", true}, {"combine", true}};

std::int32_t kind_of(std::string_view name) {
    std::int32_t kind = 0;
    while (plan::kOpNames[kind] != name) ++kind;
    return kind;
}

/// Seconds from an arbitrary start far from zero.
Span span(std::int32_t lane, std::string_view kind, double begin, double end) {
    const auto ns = [](double s) { return std::int64_t{5'000'000'000'000} + std::llround(s * 1e9); };
    return {.lane = lane, .kind = kind_of(kind), .begin_ns = ns(begin), .end_ns = ns(end)};
}

TEST_CASE("exposed: an exchange lane is busy while the compute lane is idle") {
    // compute   ####__####____
    // dispatch  __####________   half of it beside compute
    // combine   _________#####   one of five beside compute
    const Overlap o = overlap_of(kLanes, std::vector<Span>{
                                             span(0, "linear", 0, 4),
                                             span(1, "all_to_all", 2, 6),
                                             span(0, "linear", 6, 10),
                                             span(2, "all_to_all", 9, 14),
                                         });
    CHECK(o.lane_busy_seconds == std::vector<double>{8, 4, 5});
    CHECK(o.compute_busy_seconds == Approx(8));
    CHECK(o.exchange_busy_seconds == Approx(9));
    CHECK(o.exposed_seconds == Approx(2 + 4));
    CHECK(o.hidden() == Approx(1 - 6.0 / 9));
    CHECK(o.span_seconds == Approx(14));
}

TEST_CASE("an instant with two exchange lanes at work counts once") {
    const Overlap o = overlap_of(kLanes, std::vector<Span>{
                                             span(2, "all_to_all", 3, 8),
                                             span(0, "linear", 0, 4),
                                             span(1, "all_to_all", 2, 6),
                                         });
    CHECK(o.exchange_busy_seconds == Approx(6));
    CHECK(o.exposed_seconds == Approx(4));
    CHECK(o.lane_busy_seconds == std::vector<double>{4, 4, 5});
}

TEST_CASE("wholly hidden, wholly exposed, nothing to hide") {
    CHECK(overlap_of(kLanes, std::vector<Span>{span(0, "linear", 0, 9), span(1, "all_to_all", 1, 3)})
              .hidden() == 1);
    // Ops that touch, and one of no length, hide nothing.
    const Overlap serial =
        overlap_of(kLanes, std::vector<Span>{span(0, "linear", 0, 1), span(1, "all_to_all", 1, 3),
                                             span(0, "add", 2, 2), span(0, "linear", 3, 4)});
    CHECK(serial.exposed_seconds == Approx(2));
    CHECK(serial.hidden() == Approx(0).margin(1e-12));
    CHECK(std::isnan(overlap_of(kLanes, std::vector<Span>{span(0, "linear", 0, 1)}).hidden()));
    const Overlap nothing = overlap_of(kLanes, {});
    CHECK(nothing.lane_busy_seconds == std::vector<double>{0, 0, 0});
    CHECK(nothing.span_seconds == 0);
    CHECK(nothing.kinds.empty());
}

TEST_CASE("several compute ops behind one exchange, and gaps between them") {
    const Overlap o =
        overlap_of(kLanes, std::vector<Span>{span(1, "all_to_all", 0, 10), span(0, "linear", 1, 2),
                                             span(0, "swiglu", 2, 3), span(0, "linear", 7, 20)});
    CHECK(o.exposed_seconds == Approx(10 - 2 - 3));
}

TEST_CASE("time and number of each kind of op on each lane") {
    const Overlap o = overlap_of(kLanes, std::vector<Span>{
                                             span(0, "linear", 0, 4),
                                             span(0, "swiglu", 4, 5),
                                             span(0, "linear", 6, 8),
                                             span(1, "all_to_all", 3, 7),
                                             span(1, "exchange_counts", 8, 9),
                                         });
    REQUIRE(o.kinds.size() == 4);
    const auto find = [&](std::int32_t lane, std::string_view kind) {
        for (const KindTime& time : o.kinds) {
            if (time.lane == lane && time.kind == kind_of(kind)) return time;
        }
        return KindTime{};
    };
    CHECK(find(0, "linear").count == 2);
    CHECK(find(0, "linear").busy_seconds == Approx(6));
    CHECK(find(0, "linear").exposed_seconds == 0);
    CHECK(find(0, "swiglu").busy_seconds == Approx(1));
    CHECK(find(1, "all_to_all").busy_seconds == Approx(4));
    CHECK(find(1, "all_to_all").exposed_seconds == Approx(1));
    CHECK(find(1, "exchange_counts").exposed_seconds == Approx(1));
}

TEST_CASE("spans that cannot be are refused") {
    CHECK_THROWS_AS(overlap_of(kLanes, std::vector<Span>{span(3, "linear", 0, 1)}), Error);
    CHECK_THROWS_AS(overlap_of(kLanes, std::vector<Span>{span(0, "linear", 1, 0)}), Error);
    Span unknown = span(0, "linear", 0, 1);
    unknown.kind = 1000;
    CHECK_THROWS_AS(overlap_of(kLanes, std::vector<Span>{unknown}), Error);
}

}  // namespace
}  // namespace eps::trace
