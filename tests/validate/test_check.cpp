// What the check accepts, counts and refuses, on hand-made layers.
#include "tests/catch.hpp"
#include "validate/check.hpp"

#include <cmath>
#include <limits>

using namespace eps;
using validate::check_layer;
using validate::CheckResult;
using validate::LayerCapture;

namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// A MoE layer of hidden size 2 with 4 experts, top 2: token t adds {1, -1} to its rows {t, t}.
struct HandMade {
    model::ModelSpec spec;
    std::vector<float> input;
    validate::LayerResult expected;
    LayerCapture actual;

    explicit HandMade(std::int64_t num_tokens, const std::vector<float>& scores) {
        spec.hidden_size = 2;
        spec.num_layers = 1;
        spec.n_routed_experts = 4;
        spec.num_experts_per_tok = 2;
        std::vector<float> logits;
        for (std::int64_t t = 0; t < num_tokens; ++t) {
            for (const float s : scores) logits.push_back(std::log(s));
            const auto v = static_cast<float>(t);
            input.insert(input.end(), {v, v});
            expected.hidden.insert(expected.hidden.end(), {v + 1, v - 1});
        }
        expected.after_attention = input;
        expected.gate = validate::decide(spec, logits);
        actual = {expected.hidden, expected.gate.ids, expected.gate.weights};
    }

    CheckResult check(DType dtype = DType::f32, validate::Routing routing = validate::Routing::gate,
                      validate::Tokens tokens = validate::Tokens::all) const {
        return check_layer(spec, validate::tolerance_of(dtype), 0, input, expected, actual, routing, tokens);
    }
    // Makes token t go to experts a, b.
    void choose(std::size_t t, std::int32_t a, std::int32_t b) {
        actual.ids[2 * t] = a;
        actual.ids[2 * t + 1] = b;
    }
};

const std::vector<float> kClear{.4F, .3F, .2F, .1F};
const std::vector<float> kTied{.4F, .200001F, .2F, .199999F};

}  // namespace

TEST_CASE("Equal layers pass and every value is counted") {
    const CheckResult result = HandMade(3, kClear).check();
    CHECK(result.passed());
    CHECK(result.compared == 3 * 2 + 3 * 2);
    CHECK(result.tokens == 3);
    CHECK(result.max_error == 0);
    CHECK(result.bound == 1e-4);
    CHECK_THAT(result.origin, contains_text("f32"));
}

TEST_CASE("Errors are relative to the largest update") {
    HandMade layer(3, kClear);
    layer.actual.hidden[4] += 5e-5F;
    CHECK(layer.check().passed());
    CHECK(layer.check().max_error == Approx(5e-5).epsilon(0.05));
    layer.actual.hidden[4] += 1e-4F;
    CHECK_THAT(layer.check().reason, contains_text("token 2"));
    CHECK(layer.check(DType::bf16).passed());
    layer.actual.hidden[4] += 0.05F;
    CHECK_FALSE(layer.check(DType::bf16).passed());
}

TEST_CASE("A wrong update does not hide behind a large residual stream") {
    HandMade layer(2, kClear);
    for (auto* rows :
         {&layer.input, &layer.expected.after_attention, &layer.expected.hidden, &layer.actual.hidden})
        for (float& v : *rows) v += 64;
    CHECK(layer.check(DType::bf16).passed());
    layer.actual.hidden[2] = layer.input[2];  // the update of 1 is lost: 1.5 % of the stream
    CHECK_FALSE(layer.check(DType::bf16).passed());
    layer.actual.hidden[2] =
        layer.expected.hidden[2] + 0.125F;  // half a bf16 step of the stream, stored twice
    CHECK(layer.check(DType::bf16).passed());
}

TEST_CASE("An update that should be zero must be zero") {
    HandMade layer(1, kClear);
    layer.expected.hidden = layer.actual.hidden = layer.input = layer.expected.after_attention = {0, 0};
    CHECK(layer.check().passed());
    layer.actual.hidden[1] = 1e-6F;
    CHECK_FALSE(layer.check().passed());
}

TEST_CASE("Values that are not finite, or too few, fail") {
    const auto reason_after = [](const auto& change) {
        HandMade layer(2, kClear);
        change(layer);
        const CheckResult result = layer.check();
        CHECK_FALSE(result.passed());
        return result.reason;
    };
    CHECK(reason_after([](HandMade& l) { l.actual.hidden[3] = kNan; }) ==
          "layer 0 hidden: value 3 is not finite");
    CHECK(reason_after([](HandMade& l) { l.actual.weights[1] = INFINITY; }) ==
          "layer 0 topk_weights: value 1 is not finite");
    CHECK_THAT(reason_after([](HandMade& l) { l.expected.hidden[0] = kNan; }),
               contains_text("of the reference"));
    CHECK_THAT(reason_after([](HandMade& l) { l.input[0] = kNan; }), contains_text("input"));
    CHECK_THAT(reason_after([](HandMade& l) { l.actual.hidden.pop_back(); }),
               contains_text("3 values were captured"));
    CHECK_THAT(reason_after([](HandMade& l) { l.actual.ids.clear(); }), contains_text("topk_ids: 0 values"));
    CHECK_THAT(reason_after([](HandMade& l) { l.actual.weights.clear(); }),
               contains_text("topk_weights: 0 values"));
    CHECK_THAT(HandMade(0, kClear).check().reason, contains_text("nothing was compared"));
}

TEST_CASE("Slots are compared by expert, not by place") {
    HandMade layer(2, kClear);
    std::swap(layer.actual.ids[0], layer.actual.ids[1]);
    CHECK_THAT(layer.check().reason, contains_text("topk_weights of token 0"));
    std::swap(layer.actual.weights[0], layer.actual.weights[1]);
    CHECK(layer.check().passed());
    CHECK(layer.check().flips == 0);
}

TEST_CASE("Wrong weights fail") {
    HandMade layer(2, kClear);
    layer.actual.weights[3] *= 1.1F;
    CHECK_FALSE(layer.check(DType::bf16).passed());
    CHECK(layer.check(DType::bf16).max_error == Approx(.03 / .4).epsilon(1e-3));
}

TEST_CASE("A near-tie is counted and leaves the comparison") {
    HandMade layer(4, kTied);
    layer.choose(2, 0, 2);
    layer.actual.hidden[4] = 17;  // another expert gives another value
    const CheckResult result = layer.check();
    CHECK(result.passed());
    CHECK(result.flips == 1);
    CHECK(result.tokens_left_out == 1);
    CHECK(result.compared == 3 * 2 + 3 * 2);
}

TEST_CASE("Another expert without a near-tie fails") {
    HandMade layer(4, kClear);
    layer.choose(1, 0, 2);
    CHECK_THAT(layer.check().reason,
               contains_text("token 1: experts 0,2 instead of 0,1, which is no near-tie"));
    CHECK(layer.check().max_error == Approx(1.0 / 3));
    CHECK_FALSE(layer.check(DType::bf16).passed());
}

TEST_CASE("A near-tie excuses only the experts that are tied") {
    HandMade layer(4, kTied);
    layer.choose(1, 1, 2);  // 1 and 2 are tied, but 0 is not
    CHECK_FALSE(layer.check().passed());
    layer.choose(1, 0, 0);
    CHECK_FALSE(layer.check().passed());
    layer.choose(1, 0, 7);
    CHECK_FALSE(layer.check().passed());
}

TEST_CASE("Half the tokens must stay") {
    HandMade layer(4, kTied);
    layer.choose(0, 0, 2);
    layer.choose(3, 0, 3);
    CHECK(layer.check().passed());
    layer.choose(2, 0, 2);
    CHECK_THAT(layer.check().reason, contains_text("left only 1 of 4 tokens"));
}

TEST_CASE("Of samples half must stay in all layers together") {
    HandMade flipped(1, kTied);
    flipped.choose(0, 0, 2);
    const CheckResult one = flipped.check(DType::f32, validate::Routing::gate, validate::Tokens::samples);
    CHECK(one.passed());
    CHECK(one.compared == 0);
    const CheckResult good =
        HandMade(1, kTied).check(DType::f32, validate::Routing::gate, validate::Tokens::samples);
    CHECK(validate::combined("spot", std::vector{one, good}).passed());
    CHECK_THAT(validate::combined("spot", std::vector{one, one, good}).reason,
               contains_text("left only 1 of 3"));
    CHECK_FALSE(validate::combined("spot", std::vector{one}).passed());
}

TEST_CASE("Forced ids may not differ, not even in a near-tie") {
    HandMade layer(4, kTied);
    CHECK(layer.check(DType::f32, validate::Routing::forced).passed());
    layer.choose(2, 0, 2);
    CHECK_THAT(layer.check(DType::f32, validate::Routing::forced).reason,
               contains_text("not what was forced"));
}

TEST_CASE("Any tensor is compared relative to its largest value") {
    const auto tolerance = validate::tolerance_of(DType::f32);
    const std::vector<float> expected{1, -4, 2};
    CHECK(validate::check_values(tolerance, "logits", expected, std::vector<float>{1, -4, 2.0002F}).passed());
    const auto bad = validate::check_values(tolerance, "logits", expected, std::vector<float>{1, -4, 2.001F});
    CHECK_THAT(bad.reason, contains_text("logits: relative error 0.00025 at value 2"));
    CHECK(bad.max_error == Approx(2.5e-4).epsilon(1e-2));
    CHECK_FALSE(validate::check_values(tolerance, "x", expected, std::vector<float>{1, kNan, 2}).passed());
    CHECK_FALSE(
        validate::check_values(tolerance, "x", std::vector<float>{kNan}, std::vector<float>{1}).passed());
    CHECK_FALSE(validate::check_values(tolerance, "x", expected, std::vector<float>{1, -4}).passed());
    CHECK_FALSE(validate::check_values(tolerance, "x", {}, {}).passed());
    CHECK(validate::check_values(validate::exact_tolerance(), "x", expected, expected).passed());
    const std::vector<float> next{1, -4, std::nextafter(2.0F, 3.0F)};
    CHECK_FALSE(validate::check_values(validate::exact_tolerance(), "x", expected, next).passed());
}

TEST_CASE("Parts are summed; the one nearest to its bound speaks for all") {
    const auto tolerance = validate::tolerance_of(DType::f32);
    const auto part = [&](float value) {
        return validate::check_values(tolerance, "x", std::vector<float>{1}, std::vector<float>{value});
    };
    const auto exact = validate::check_values(validate::exact_tolerance(), "x", std::vector<float>{2},
                                              std::vector<float>{2});
    const auto all = validate::combined("reference", std::vector{exact, part(1), part(1.00005F)});
    CHECK(all.passed());
    CHECK(all.kind == "reference");
    CHECK(all.compared == 3);
    CHECK(all.bound == 1e-4);
    CHECK(all.max_error == Approx(5e-5).epsilon(1e-2));
    const auto failed = validate::combined("reference", std::vector{part(1), part(2), part(3)});
    CHECK(failed.max_error == Approx(2));
    CHECK_THAT(failed.reason, contains_text("relative error 1 "));
    CHECK(validate::combined("reference", {}).reason == "nothing was compared");
    CHECK(CheckResult().reason == "nothing was compared");
}
