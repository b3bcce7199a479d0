#include "base/random.hpp"
#include "measure/stats.hpp"
#include "tests/catch.hpp"

#include <cmath>
#include <vector>

namespace eps::measure {
namespace {

TEST_CASE("median: the middle, or the mean of the middle two") {
    CHECK(median(std::vector<double>{3}) == 3);
    CHECK(median(std::vector<double>{5, 1, 3}) == 3);
    CHECK(median(std::vector<double>{4, 1, 3, 2}) == 2.5);
    CHECK(std::isnan(median(std::vector<double>{})));
}

// Published tables of the sign test: d-th smallest and d-th largest observation enclose the median with >= 95
// % (d of the two-sided test at 5 %, one above its critical value).
TEST_CASE("ranks of the interval are those of the sign-test tables") {
    const auto d_of = [](std::int64_t n) { return median_interval_ranks(n).begin + 1; };
    for (const std::int64_t n : {0, 1, 2, 3, 4, 5}) CHECK(median_interval_ranks(n).empty());
    const std::vector<std::pair<std::int64_t, std::int64_t>> table = {
        {6, 1},  {7, 1},  {8, 1},   {9, 2},   {10, 2},  {11, 2},  {12, 3},
        {13, 3}, {14, 3}, {15, 4},  {16, 4},  {17, 5},  {18, 5},  {19, 5},
        {20, 6}, {25, 8}, {30, 10}, {40, 14}, {50, 18}, {75, 29}, {100, 40}};
    for (const auto& [n, d] : table) {
        CAPTURE(n);
        CHECK(d_of(n) == d);
        CHECK(median_interval_ranks(n).end == n - d + 1);
    }
}

TEST_CASE("coverage is at least 95 %, and the next narrower pair has less") {
    CHECK(median_coverage({0, 6}, 6) == Approx(1 - 2.0 / 64));
    CHECK(median_coverage({1, 9}, 10) == Approx(0.978515625));
    for (const std::int64_t n : {6, 7, 13, 64, 101, 1000, 5000}) {
        CAPTURE(n);
        const Range ranks = median_interval_ranks(n);
        CHECK(median_coverage(ranks, n) >= 0.95);
        CHECK(median_coverage({ranks.begin + 1, ranks.end - 1}, n) < 0.95);
    }
}

TEST_CASE("simulated: the interval holds the true median as often as it says") {
    const std::int64_t n = GENERATE(6, 9, 10, 31);
    CAPTURE(n);
    constexpr int kTrials = 20000;
    const std::uint64_t key = stream_key(7, "coverage");
    int enclosed = 0;
    std::vector<double> samples(static_cast<std::size_t>(n));
    for (int trial = 0; trial < kTrials; ++trial) {
        for (std::size_t i = 0; i < samples.size(); ++i) {
            // Skewed, as timings are: exponential, whose median is ln 2.
            const auto at = static_cast<std::uint64_t>(trial) * samples.size() + i;
            samples[i] = -std::log(1 - random_uniform(key, at));
        }
        const Summary summary = summarize(samples);
        REQUIRE(summary.interval);
        enclosed += summary.interval->low <= std::log(2.0) && std::log(2.0) <= summary.interval->high;
    }
    const double expected = median_coverage(median_interval_ranks(n), n);
    CHECK(expected >= 0.95);
    CHECK(std::abs(static_cast<double>(enclosed) / kTrials - expected) < 0.006);  // four standard errors
}

TEST_CASE("a summary") {
    const Summary ten = summarize(std::vector<double>{10, 9, 8, 7, 6, 5, 4, 3, 2, 1});
    CHECK(ten.n == 10);
    CHECK(ten.median == 5.5);
    CHECK(ten.min == 1);
    CHECK(ten.max == 10);
    REQUIRE(ten.interval);
    CHECK(*ten.interval == Interval{2, 9});
    CHECK(*ten.relative_half_width == Approx(3.5 / 5.5));

    const Summary five = summarize(std::vector<double>{1, 2, 3, 4, 5});
    CHECK(five.median == 3);
    CHECK(!five.interval);
    CHECK(!five.relative_half_width);

    const Summary none = summarize({});
    CHECK(none.n == 0);
    CHECK(std::isnan(none.median));
    CHECK(std::isnan(none.min));
    CHECK(!none.interval);
}

}  // namespace
}  // namespace eps::measure
