#include "base/error.hpp"
#include "tests/catch.hpp"
#include "validate/gate.hpp"

#include <array>
#include <cmath>
#include <limits>

using namespace eps;
using validate::choice_margin;
using validate::decide;
using Ids = std::vector<std::int32_t>;

namespace {

model::ModelSpec gate_spec(std::int64_t experts, std::int64_t top_k) {
    model::ModelSpec spec;
    spec.n_routed_experts = experts;
    spec.num_experts_per_tok = top_k;
    return spec;
}

model::ModelSpec grouped_spec(std::int64_t experts, std::int64_t top_k, std::int64_t groups,
                              std::int64_t kept) {
    model::ModelSpec spec = gate_spec(experts, top_k);
    spec.group_limited = true;
    spec.n_group = groups;
    spec.topk_group = kept;
    return spec;
}

// Logits whose softmax is `scores`.
std::vector<float> logits_of(std::vector<float> scores) {
    for (float& s : scores) s = std::log(s);
    return scores;
}

}  // namespace

TEST_CASE("Greedy takes the best experts by descending score, ties to the lower id") {
    const auto result =
        decide(gate_spec(5, 3), logits_of({.1F, .3F, .1F, .4F, .1F, .2F, .2F, .2F, .2F, .2F}));
    CHECK(result.ids == Ids{3, 1, 0, 0, 1, 2});
    CHECK(result.scores[3] == Approx(.4));
    CHECK(result.weights[0] == Approx(.4));
    CHECK(result.weights[5] == Approx(.2));
    CHECK(result.margins[0] == Approx(0).margin(1e-6));
}

TEST_CASE("Groups are chosen by their best expert, not by their sum") {
    // Groups {0,1} best .3, {2,3} sum .5 but best .26, {4,5} best .2.
    const auto spec = grouped_spec(6, 2, 3, 1);
    const auto result = decide(spec, logits_of({.30F, .02F, .26F, .24F, .17F, .01F}));
    CHECK(result.ids == Ids{0, 1});
    CHECK(result.margins[0] == Approx(.04 / .30));
    CHECK(decide(gate_spec(6, 2), logits_of({.30F, .02F, .26F, .24F, .17F, .01F})).ids == Ids{0, 2});
    const auto two = decide(grouped_spec(6, 2, 3, 2), logits_of({.30F, .02F, .26F, .24F, .17F, .01F}));
    CHECK(two.ids == Ids{0, 2});
    CHECK(two.margins[0] == Approx(.02 / .26));
}

TEST_CASE("Weights are normed without the factor, or multiplied by it") {
    auto spec = gate_spec(4, 2);
    spec.routed_scaling_factor = 2.5;
    const auto logits = logits_of({.4F, .1F, .2F, .3F});
    CHECK(decide(spec, logits).weights[1] == Approx(.75));
    spec.norm_topk_prob = true;
    CHECK(decide(spec, logits).weights[0] == Approx(.4 / .7));
    spec.num_experts_per_tok = 1;  // nothing to norm
    CHECK(decide(spec, logits).weights[0] == Approx(1.0));
}

TEST_CASE("Forced ids keep their scores as weights and are sorted like chosen ones") {
    const auto spec = gate_spec(4, 2);
    const Ids forced{1, 3, 2, 0};
    const auto result =
        decide(spec, logits_of({.4F, .1F, .2F, .3F, .1F, .2F, .3F, .4F}), validate::ForcedIds(forced));
    CHECK(result.ids == Ids{3, 1, 2, 0});
    CHECK(result.weights[0] == Approx(.3));
    CHECK(result.weights[1] == Approx(.1));
    CHECK(result.margins[0] == Approx(-.75));
    const Ids beyond{1, 4, 2, 0};
    CHECK_THROWS_WITH(decide(spec, std::vector<float>(8), validate::ForcedIds(beyond)),
                      contains_text("expert 4 of 4"));
}

TEST_CASE("The margin of another choice says how near it was") {
    const auto spec = gate_spec(4, 2);
    const std::array<float, 4> scores{.40F, .10F, .20F, .30F};
    CHECK(choice_margin(spec, scores, Ids{0, 3}) == Approx(1.0 / 3));
    CHECK(choice_margin(spec, scores, Ids{3, 0}) == Approx(1.0 / 3));
    CHECK(choice_margin(spec, scores, Ids{0, 2}) == Approx(-1.0 / 3));
    CHECK(choice_margin(spec, scores, Ids{1, 2}) == Approx(-.75));
    constexpr double kNever = -std::numeric_limits<double>::infinity();
    CHECK(choice_margin(spec, scores, Ids{0, 0}) == kNever);
    CHECK(choice_margin(spec, scores, Ids{0, 4}) == kNever);
    CHECK(choice_margin(spec, scores, Ids{-1, 0}) == kNever);
    CHECK(choice_margin(gate_spec(2, 2), std::array<float, 2>{.5F, .5F}, Ids{0, 1}) == 1);
}

TEST_CASE("With groups a near-tie of two groups excuses all of their experts, but only theirs") {
    const auto spec = grouped_spec(6, 2, 3, 1);
    const std::array<float, 6> scores{.300F, .100F, .297F, .203F, .060F, .040F};
    CHECK(choice_margin(spec, scores, Ids{0, 1}) == Approx(.01).epsilon(1e-3));
    CHECK(choice_margin(spec, scores, Ids{2, 3}) == Approx(-.01).epsilon(1e-3));
    CHECK(choice_margin(spec, scores, Ids{4, 5}) == Approx(-.8));
    CHECK(choice_margin(spec, scores, Ids{0, 2}) == -std::numeric_limits<double>::infinity());
}

TEST_CASE("Spread is the standard deviation of the logits") {
    CHECK(validate::spread(std::array<float, 4>{1, 1, 3, 3}) == Approx(1));
    CHECK(validate::spread(std::array<float, 1>{5}) == 0);
}
