#include "measure/stopping.hpp"
#include "tests/catch.hpp"

#include <vector>

namespace eps::measure {
namespace {

std::vector<double> around(double centre, double spread, std::size_t n) {
    std::vector<double> samples;
    for (std::size_t i = 0; i < n; ++i) samples.push_back(centre + (i % 2 == 0 ? spread : -spread));
    return samples;
}

TEST_CASE("enough: repetitions first, then a narrow interval") {
    const StoppingRule rule;
    CHECK(!rule.enough({}));
    CHECK(!rule.enough(around(0.1, 0, 5)));
    CHECK(rule.enough(around(0.1, 0, 6)));
    CHECK(rule.enough(around(0.1, 0.0019, 6)));
    CHECK(!rule.enough(around(0.1, 0.0021, 6)));
    StoppingRule patient;
    patient.min_repetitions = 20;
    CHECK(!patient.enough(around(0.1, 0, 19)));
    CHECK(patient.enough(around(0.1, 0, 20)));
}

TEST_CASE("caps win, even over the least number of repetitions") {
    StoppingRule rule;
    rule.max_seconds = 1;
    CHECK(!rule.enough(around(0.3, 0.1, 2)));
    CHECK(rule.enough(around(0.5, 0.1, 2)));
    CHECK(rule.enough(std::vector<double>{2}));
    rule = {};
    rule.max_repetitions = 3;
    CHECK(!rule.enough(around(0.1, 0.05, 2)));
    CHECK(rule.enough(around(0.1, 0.05, 3)));
    rule = {};
    rule.max_seconds = 0;
    CHECK(rule.enough({}));
    rule = {};
    rule.max_repetitions = 0;
    CHECK(rule.enough({}));
}

TEST_CASE("noisy: wider than asked for, or unknown") {
    StoppingRule rule;
    CHECK(rule.noisy({}));
    CHECK(rule.noisy(around(0.1, 0, 5)));
    CHECK(!rule.noisy(around(0.1, 0, 6)));
    CHECK(!rule.noisy(around(0.1, 0.0019, 6)));
    CHECK(rule.noisy(around(0.1, 0.0021, 6)));
    rule.relative_ci = 0;
    CHECK(!rule.noisy(around(0.1, 0, 6)));
    CHECK(rule.noisy(around(0, 0, 6)));  // a median of zero has no relative width
}

}  // namespace
}  // namespace eps::measure
