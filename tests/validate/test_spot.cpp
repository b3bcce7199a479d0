// Spot checks give what the whole layer gives, within their budget, and catch mistakes.
#include "tests/catch.hpp"
#include "tests/validate/mistaken_layer.hpp"
#include "tests/validate/shipped_case.hpp"
#include "validate/spot.hpp"

#include <set>

using namespace eps;
using validate::Scope;
using validate::SpotSample;

namespace {

std::vector<float> row_of(const std::vector<float>& rows, std::int64_t token, std::int64_t cols) {
    return {rows.begin() + token * cols, rows.begin() + (token + 1) * cols};
}

// Rows of a sequence up to and with `position`.
std::vector<float> prefix_of(const std::vector<float>& rows, std::int64_t start, std::int64_t position,
                             std::int64_t cols) {
    return {rows.begin() + start * cols, rows.begin() + (start + position + 1) * cols};
}

// What a run that computes like `layer_of(layer, input)` would have stored for the samples.
template <typename LayerOf>
std::vector<validate::SpotCapture> captures_of(const ShippedCase& c, const std::vector<SpotSample>& samples,
                                               const LayerOf& layer_of) {
    std::vector<validate::SpotCapture> captures;
    for (const SpotSample& s : samples) {
        const std::vector<float> input = c.input(s.layer);
        const validate::LayerCapture whole = layer_of(s.layer, input);
        const std::int64_t start = c.starts[static_cast<std::size_t>(s.sequence)], token = start + s.position;
        validate::SpotCapture capture;
        capture.sample = s;
        capture.prefix = prefix_of(input, start, s.position, c.spec.hidden_size);
        capture.actual.hidden = row_of(whole.hidden, token, c.spec.hidden_size);
        if (c.spec.is_moe(s.layer)) {
            const std::int64_t k = c.spec.num_experts_per_tok;
            capture.actual.weights = row_of(whole.weights, token, k);
            capture.actual.ids = {whole.ids.begin() + token * k, whole.ids.begin() + (token + 1) * k};
        }
        captures.push_back(capture);
    }
    return captures;
}

}  // namespace

TEST_CASE("A spot check of the last row equals the whole layer's row") {
    for (const std::string& name : kShippedCases) {
        const ShippedCase c(name);
        const validate::Weights weights(*c.weights, DType::f32, 2);
        const validate::Reference reference(c.spec, weights);
        const std::int64_t hidden = c.spec.hidden_size;
        for (std::int64_t layer = 0; layer < c.spec.num_layers; ++layer) {
            const std::vector<float> x = c.input(layer);
            const auto whole = reference.decoder_layer(layer, c.starts, x);
            const std::vector<std::vector<float>> prefixes{
                prefix_of(x, 0, 0, hidden), prefix_of(x, 0, 23, hidden), prefix_of(x, 24, 11, hidden)};
            const auto spot = validate::spot_layer(reference, Scope::layer, layer, prefixes);
            const std::vector<std::int64_t> tokens{0, 23, 35};
            CHECK(relative_error(validate::gathered(whole.attn_out, hidden, tokens), spot.attn_out) < 1e-6);
            CHECK(relative_error(validate::gathered(whole.hidden, hidden, tokens), spot.hidden) < 1e-6);
            if (!c.spec.is_moe(layer)) continue;
            CHECK(std::equal(spot.gate.ids.begin(), spot.gate.ids.begin() + c.spec.num_experts_per_tok,
                             whole.gate.ids.begin()));
            const std::vector<float> middle = row_of(whole.after_attention, 35, hidden);
            const auto moe =
                validate::spot_layer(reference, Scope::moe, layer, std::vector<std::vector<float>>{middle});
            CHECK(moe.hidden == row_of(whole.hidden, 35, hidden));
        }
    }
}

TEST_CASE("Spot checks accept a correct bf16 run and catch mistakes in any layer") {
    const ShippedCase c("tiny_v2");
    const validate::Weights weights(*c.weights, DType::bf16);
    const validate::Reference reference(c.spec, weights);
    const std::vector<SpotSample> samples =
        validate::choose_spot_samples(c.spec, Scope::layer, c.starts, 1e9);
    validate::SpotResults expected(reference, Scope::layer);
    const auto check = [&](Mistake mistake) {
        const MistakenLayer run(c.spec, *c.weights, DType::bf16, mistake);
        auto captures = captures_of(c, samples, [&](std::int64_t layer, const std::vector<float>& x) {
            return run.run(layer, c.starts, x);
        });
        for (auto& capture : captures)
            for (float& v : capture.prefix) v = rounded_to(DType::bf16, v);
        return validate::check_spots(expected, validate::tolerance_of(DType::bf16), captures);
    };
    const validate::CheckResult good = check(Mistake::none);
    INFO(good.reason);
    CHECK(good.passed());
    CHECK(good.kind == "spot");
    CHECK(good.tokens == static_cast<std::int64_t>(samples.size()));
    CHECK(good.compared == good.tokens * 64 + 3 * 3 * good.tokens / 4);
    for (const Mistake mistake : {Mistake::no_rope, Mistake::half_layout, Mistake::no_mscale,
                                  Mistake::not_causal, Mistake::one_sequence, Mistake::no_group_limit,
                                  Mistake::no_factor, Mistake::no_shared, Mistake::lost_expert})
        CHECK_FALSE(check(mistake).passed());
}

TEST_CASE("Samples meet every layer and sequence while the budget lasts") {
    model::ModelSpec spec = ShippedCase("tiny_v2").spec;
    const std::vector<std::int64_t> starts{0, 5, 6, 26, 126};
    const auto samples = validate::choose_spot_samples(spec, Scope::layer, starts, 1e9);
    std::set<std::pair<std::int64_t, std::int64_t>> pairs;
    std::set<std::int64_t> positions;
    for (std::size_t i = 0; i < samples.size(); ++i) {
        const SpotSample& s = samples[i];
        pairs.emplace(s.layer, s.sequence);
        if (s.sequence == 3) positions.insert(s.position);
        const auto at = static_cast<std::size_t>(s.sequence);
        CHECK(s.position < starts[at + 1] - starts[at]);
        CHECK(std::count(samples.begin(), samples.end(), s) == 1);
        if (i > 0) CHECK(samples[i - 1].layer <= s.layer);
    }
    CHECK(pairs.size() == 16);
    CHECK(positions == std::set<std::int64_t>{3, 99});
    CHECK(samples.size() == 2 * 16 - 4);  // the sequence of one token has one position only

    CHECK(validate::choose_spot_samples(spec, Scope::layer, starts, 1e9, 5).size() == 5);
    const auto moe = validate::choose_spot_samples(spec, Scope::moe, starts, 1e9);
    CHECK(moe.size() == 7);
    for (const SpotSample& s : moe) CHECK(s.layer == 1);
}

TEST_CASE("Samples stay within the budget, one at least") {
    const model::ModelSpec spec = model::load_preset("deepseek-v2");
    const std::vector<std::int64_t> starts{0, 4096, 8192, 12288};
    const auto cost = [&](const std::vector<SpotSample>& samples) {
        double flops = 0;
        for (const SpotSample& s : samples) flops += validate::spot_flops(spec, Scope::model, s);
        return flops;
    };
    const auto some = validate::choose_spot_samples(spec, Scope::model, starts, 3e9);
    CHECK(some.size() >= 3);
    // Of a sequence whose end is beyond the budget, the last position that is not.
    CHECK(std::any_of(some.begin(), some.end(), [](const SpotSample& s) { return s.position > 50; }));
    CHECK(cost(some) <= 3e9);
    const auto least = validate::choose_spot_samples(spec, Scope::model, starts, 1);
    REQUIRE(least.size() == 1);
    CHECK(least[0].layer == 1);
    CHECK(least[0].position == 3);
    CHECK(cost(least) < 1e9);
    // The end of a long sequence is dear, and within reach of a larger budget.
    const auto many = validate::choose_spot_samples(spec, Scope::model, starts, 60e9);
    CHECK(std::any_of(many.begin(), many.end(), [](const SpotSample& s) { return s.position == 4095; }));
}

TEST_CASE("The cost of a sample counts its projections") {
    const model::ModelSpec spec = ShippedCase("tiny_v2_lite").spec;  // no q_lora
    const double mlp = 2 * 48 * 8 + 6 * 48 * 3 * 24;
    CHECK(validate::spot_flops(spec, Scope::moe, {1, 0, 9}) == mlp);
    const double query = 2 * 3 * 18 * 48 + 2 * 3 * 12 * 16;
    const double per_row = 2 * 48 * 22 + 2 * 3 * (16 + 6 + 16);
    const double output = 2 * 3 * 12 * 16 + 2 * 36 * 48;
    CHECK(validate::spot_flops(spec, Scope::layer, {1, 0, 9}) == mlp + query + 10 * per_row + output);
    CHECK(validate::spot_flops(spec, Scope::layer, {0, 0, 0}) == 6 * 48 * 96 + query + per_row + output);
}

TEST_CASE("Forced ids reach a spot check") {
    const ShippedCase c("tiny_v2");
    const validate::Weights weights(*c.weights, DType::f32);
    const validate::Reference reference(c.spec, weights);
    const std::vector<float> x = c.input(1);
    const std::vector<std::int32_t> forced{0, 5, 15};
    const auto prefix = prefix_of(x, 24, 4, 64);
    const auto spot = validate::spot_layer(
        reference, Scope::layer, 1, std::vector<std::vector<float>>{prefix}, validate::ForcedIds(forced));
    validate::SpotCapture capture{{1, 1, 4}, prefix, {spot.hidden, spot.gate.ids, spot.gate.weights}, forced};
    const auto tolerance = validate::tolerance_of(DType::f32);
    validate::SpotResults expected(reference, Scope::layer);
    CHECK(validate::check_spots(expected, tolerance, std::vector{capture}).passed());
    capture.forced = {0, 5, 14};
    CHECK_FALSE(validate::check_spots(expected, tolerance, std::vector{capture}).passed());
    capture.forced.clear();  // the gate would not have chosen these
    CHECK_FALSE(validate::check_spots(expected, tolerance, std::vector{capture}).passed());
    CHECK_FALSE(validate::check_spots(expected, tolerance, {}).passed());
}

TEST_CASE("Sampled logits lie in every share of the vocabulary") {
    const ShippedCase c("tiny_v2");
    const validate::Weights weights(*c.weights, DType::f32);
    const validate::Reference reference(c.spec, weights);
    const std::vector<float> hidden = row_of(c.floats(3, "hidden"), 23, 64);
    std::vector<float> logits = row_of(c.floats("logits_last"), 0, 128);
    const auto tolerance = validate::tolerance_of(DType::f32);
    const auto result = validate::spot_logits(reference, tolerance, hidden, logits, 16);
    CHECK(result.passed());
    CHECK(result.compared == 16);
    CHECK(validate::spot_logits(reference, tolerance, hidden, logits).compared == 128);
    for (std::size_t i = 64; i < 96; ++i) logits[i] = 0;  // the third of four shares is missing
    CHECK_FALSE(validate::spot_logits(reference, tolerance, hidden, logits, 16).passed());
    logits.pop_back();
    CHECK_THROWS_WITH(validate::spot_logits(reference, tolerance, hidden, logits),
                      contains_text("whole vocabulary"));
}
