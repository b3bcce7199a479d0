#include "measure/rounds.hpp"
#include "tests/catch.hpp"

#include <string>
#include <vector>

namespace eps::measure {
namespace {

/// Runs cases that take `seconds(case, k)` in their k-th timed pass; `order` gets one letter a pass, upper
/// case timed.
template <typename Seconds>
std::vector<std::vector<double>> run(std::int64_t num_cases, const StoppingRule& rule, std::string& order,
                                     Seconds seconds) {
    std::vector<std::int64_t> num_timed(static_cast<std::size_t>(num_cases));
    return measure_in_rounds(num_cases, rule, [&](std::int64_t case_idx, Pass pass) {
        order += static_cast<char>((pass == Pass::timed ? 'A' : 'a') + case_idx);
        if (pass == Pass::untimed) return 1e9;  // must not count
        return seconds(case_idx, num_timed[static_cast<std::size_t>(case_idx)]++);
    });
}

TEST_CASE("cases take turns; each turn begins untimed, the first with the warm-up") {
    std::string order;
    const auto samples = run(2, StoppingRule{}, order, [](std::int64_t, std::int64_t) { return 0.01; });
    CHECK(order == "aaAAAAAbbBBBBBaAbB");
    CHECK(samples == std::vector<std::vector<double>>(2, std::vector<double>(6, 0.01)));
}

TEST_CASE("a finished case leaves the rounds, the others go on") {
    std::string order;
    StoppingRule rule;
    rule.warmup = 0;
    rule.max_repetitions = 12;
    const auto samples = run(2, rule, order, [](std::int64_t case_idx, std::int64_t k) {
        return case_idx == 0 ? 0.01 * static_cast<double>(k + 1) : 0.01;  // the first never settles
    });
    CHECK(order == "aAAAAAbBBBBBaAAAAAbBaAA");
    CHECK(samples[0].size() == 12);
    CHECK(samples[0].front() == Approx(0.01));
    CHECK(samples[0].back() == Approx(0.12));
    CHECK(samples[1].size() == 6);
}

TEST_CASE("the time cap counts a case's own timed passes and ends a turn at once") {
    std::string order;
    StoppingRule rule;
    rule.max_seconds = 3;
    const auto samples =
        run(2, rule, order, [](std::int64_t case_idx, std::int64_t) { return case_idx == 0 ? 1.0 : 0.5; });
    CHECK(order == "aaAAAbbBBBBBbB");
    CHECK(samples[0].size() == 3);
    CHECK(samples[1].size() == 6);
}

TEST_CASE("a cap of zero runs nothing, and so do no cases") {
    std::string order;
    StoppingRule rule;
    rule.max_repetitions = 0;
    CHECK(run(2, rule, order, [](std::int64_t, std::int64_t) { return 1.0; }) ==
          std::vector<std::vector<double>>(2));
    CHECK(run(0, StoppingRule{}, order, [](std::int64_t, std::int64_t) { return 1.0; }).empty());
    CHECK(order.empty());
}

}  // namespace
}  // namespace eps::measure
