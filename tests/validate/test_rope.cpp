#include "tests/catch.hpp"
#include "validate/rope.hpp"

#include <array>
#include <cmath>

using namespace eps;

namespace {

model::ModelSpec rope_spec(std::int64_t nope, std::int64_t rope, std::optional<model::Yarn> yarn) {
    model::ModelSpec spec;
    spec.qk_nope_head_dim = nope;
    spec.qk_rope_head_dim = rope;
    spec.yarn = yarn;
    return spec;
}

model::Yarn yarn_of(double mscale, double mscale_all_dim) {
    return {.factor = 40, .mscale = mscale, .mscale_all_dim = mscale_all_dim};
}

}  // namespace

TEST_CASE("YaRN has the published frequencies of DeepSeek-V2") {
    const auto table = validate::rotary_table(rope_spec(128, 64, yarn_of(0.707, 0.707)));
    REQUIRE(table.inverse_frequencies.size() == 32);
    const std::array<std::pair<std::size_t, double>, 7> known{{{0, 1},
                                                               {10, .056234133},
                                                               {11, .039006927},
                                                               {16, .0055},
                                                               {22, 1.7782794e-4},
                                                               {23, 3.3338036e-5},
                                                               {31, 3.3338036e-6}}};
    for (const auto& [i, value] : known)
        CHECK(table.inverse_frequencies[i] == Approx(value).epsilon(1e-6).margin(0));
    CHECK(table.factor == 1.0);
}

TEST_CASE("YaRN of the tiny case, and rotation without scaling") {
    const auto table = validate::rotary_table(rope_spec(16, 8, yarn_of(0.707, 0.707)));
    const std::array<double, 4> known{1, .1, .005125, 2.5e-5};
    REQUIRE(table.inverse_frequencies.size() == known.size());
    for (std::size_t i = 0; i < known.size(); ++i)
        CHECK(table.inverse_frequencies[i] == Approx(known[i]).epsilon(1e-6).margin(0));

    const auto plain = validate::rotary_table(rope_spec(12, 6, std::nullopt));
    REQUIRE(plain.inverse_frequencies.size() == 3);
    CHECK(plain.inverse_frequencies[2] == Approx(std::pow(10000.0, -4.0 / 6)));
    CHECK(plain.factor == 1.0);
}

TEST_CASE("The softmax scale follows mscale_all_dim, the factor on cos and sin the ratio of both") {
    CHECK(validate::softmax_scale(rope_spec(128, 64, yarn_of(1, 1.0))) == Approx(.13523378).epsilon(1e-6));
    CHECK(validate::softmax_scale(rope_spec(128, 64, yarn_of(1, 0.707))) == Approx(.11472139).epsilon(1e-6));
    CHECK(validate::softmax_scale(rope_spec(16, 8, yarn_of(0.707, 0.707))) ==
          Approx(.32448108).epsilon(1e-6));
    CHECK(validate::softmax_scale(rope_spec(16, 8, yarn_of(1, 0))) == Approx(1 / std::sqrt(24.0)));
    CHECK(validate::softmax_scale(rope_spec(16, 8, std::nullopt)) == Approx(1 / std::sqrt(24.0)));

    const double m = 0.1 * std::log(40.0);
    CHECK(validate::rotary_table(rope_spec(16, 8, yarn_of(1, 0))).factor == Approx(1 + m));
    CHECK(validate::rotary_table(rope_spec(16, 8, yarn_of(0.5, 0))).factor == Approx(1 + 0.5 * m));
    CHECK(validate::rotary_table(rope_spec(16, 8, yarn_of(0.5, 1))).factor ==
          Approx((1 + 0.5 * m) / (1 + m)));
}

TEST_CASE("Neighbours are rotated together") {
    std::array<float, 4> values{1, 0, 0, 2};
    validate::rotate(values, 3, {{0.5, 0.25}, 2.0});
    CHECK(values[0] == Approx(2 * std::cos(1.5)));
    CHECK(values[1] == Approx(2 * std::sin(1.5)));
    CHECK(values[2] == Approx(-4 * std::sin(0.75)));
    CHECK(values[3] == Approx(4 * std::cos(0.75)));
}
