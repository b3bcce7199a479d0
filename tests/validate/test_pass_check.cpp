// The check of a whole pass, and which kind a run gets.
#include "tests/catch.hpp"
#include "tests/validate/mistaken_layer.hpp"
#include "tests/validate/shipped_case.hpp"
#include "validate/pass_check.hpp"

using namespace eps;
using validate::PassCapture;
using validate::PassCheck;
using validate::PassWork;
using validate::Scope;

namespace {

// What a correct run in f32 stores: the shipped values.
PassCapture capture_of(const ShippedCase& c) {
    PassCapture capture{c.floats("embed"), {}, c.floats("logits_last")};
    for (std::int64_t layer = 0; layer < c.spec.num_layers; ++layer) {
        validate::LayerCapture rows{c.floats(layer, "hidden"), {}, {}};
        if (c.spec.is_moe(layer)) rows = {rows.hidden, c.ids(layer), c.floats(layer, "topk_weights")};
        capture.layers.push_back(rows);
    }
    return capture;
}

PassWork work_of(const ShippedCase& c, Scope scope) {
    return {scope, c.starts, scope == Scope::model ? c.ids("input_ids") : std::vector<std::int32_t>{}, {}};
}

const validate::Tolerance kTolerance = validate::tolerance_of(DType::f32);

}  // namespace

TEST_CASE("The shipped values pass as a whole") {
    for (const std::string& name : kShippedCases) {
        const ShippedCase c(name);
        const validate::Weights weights(*c.weights, DType::f32);
        const validate::Reference reference(c.spec, weights);
        const auto result = PassCheck(reference, work_of(c, Scope::model)).check(capture_of(c), kTolerance);
        INFO(name << ": " << result.reason);
        CHECK(result.passed());
        CHECK(result.kind == "reference");
        CHECK(result.flips == 0);
        CHECK(result.max_error < 1e-5);
        const std::int64_t num_moe = c.spec.num_layers - 1;
        CHECK(result.compared == 48 * c.spec.hidden_size * (1 + c.spec.num_layers) +
                                     48 * c.spec.num_experts_per_tok * num_moe + 2 * c.spec.vocab_size);
    }
}

TEST_CASE("Every captured tensor decides") {
    const ShippedCase c("tiny_v2_lite");
    const validate::Weights weights(*c.weights, DType::f32);
    const validate::Reference reference(c.spec, weights);
    PassCheck check(reference, work_of(c, Scope::model));
    const auto reason_after = [&](const auto& change) {
        PassCapture capture = capture_of(c);
        change(capture);
        return check.check(capture, kTolerance).reason;
    };
    CHECK_THAT(reason_after([](PassCapture& p) { p.input[7] += 1e-6F; }), contains_text("embed"));
    CHECK_THAT(reason_after([](PassCapture& p) { p.layers[1].hidden[7] += 0.01F; }),
               contains_text("layer 1"));
    CHECK_THAT(reason_after([](PassCapture& p) { p.layers[2].ids[0] = 9; }),
               contains_text("layer 2 token 0"));
    CHECK_THAT(reason_after([](PassCapture& p) { p.layers[2].weights[0] *= 1.01F; }),
               contains_text("layer 2 topk"));
    CHECK_THAT(reason_after([](PassCapture& p) { p.logits[150] += 0.01F; }), contains_text("logits_last"));
    CHECK_THAT(reason_after([](PassCapture& p) { p.logits.clear(); }),
               contains_text("logits_last: 0 values"));
    CHECK_THAT(reason_after([](PassCapture& p) { p.layers[0].hidden.pop_back(); }),
               contains_text("layer 0 hidden"));
    CHECK(reason_after([](PassCapture&) {}).empty());
    PassCapture short_one = capture_of(c);
    short_one.layers.pop_back();
    CHECK_THROWS_WITH(check.check(short_one, kTolerance), contains_text("2 layers were captured of 3"));
    short_one = capture_of(c);
    short_one.input.pop_back();
    CHECK_THROWS_WITH(check.check(short_one, kTolerance), contains_text("48 tokens"));
}

TEST_CASE("Layers with the same input are computed once") {
    const ShippedCase c("tiny_v2_lite");
    const validate::Weights weights(*c.weights, DType::f32);
    const validate::Reference reference(c.spec, weights);
    PassCheck check(reference, work_of(c, Scope::model));
    const PassCapture first = capture_of(c);
    CHECK(check.check(first, kTolerance).passed());
    CHECK(check.num_layers_computed() == 3);
    CHECK(check.check(first, kTolerance).passed());
    CHECK(check.num_layers_computed() == 3);
    PassCapture second = first;
    second.layers[1].hidden[0] += 1e-7F;  // the input of layer 2
    CHECK(check.check(second, kTolerance).passed());
    CHECK(check.num_layers_computed() == 4);
    CHECK(check.check(first, kTolerance).passed());
    CHECK(check.num_layers_computed() == 4);
}

TEST_CASE("Scopes layer and moe start from given rows") {
    const ShippedCase c("tiny_v2");
    const validate::Weights weights(*c.weights, DType::f32);
    const validate::Reference reference(c.spec, weights);
    PassCapture layers = capture_of(c);
    layers.logits.clear();
    CHECK(PassCheck(reference, work_of(c, Scope::layer)).check(layers, kTolerance).passed());

    // Rows after attention of layer 1, the first MoE layer.
    const std::vector<float> middle = validate::sum(c.input(1), c.floats(1, "attn_out"));
    const PassCapture moe{middle, {layers.layers[1]}, {}};
    PassCheck check(reference, work_of(c, Scope::moe));
    const auto result = check.check(moe, kTolerance);
    INFO(result.reason);
    CHECK(result.passed());
    CHECK(result.compared == 48 * 64 + 48 * 3);
    PassCapture wrong = moe;
    wrong.layers[0].hidden[5] += 0.01F;
    CHECK_FALSE(check.check(wrong, kTolerance).passed());
    // Rows that are not finite do not pass silently, although nothing before them could notice.
    PassCapture broken = moe;
    broken.input[0] = std::nanf("");
    CHECK_THAT(check.check(broken, kTolerance).reason, contains_text("not finite"));
}

TEST_CASE("Forced routing is checked with the same ids") {
    const ShippedCase c("tiny_v2");
    const validate::Weights weights(*c.weights, DType::f32);
    const validate::Reference reference(c.spec, weights);
    std::vector<std::int32_t> forced;
    for (std::int32_t t = 0; t < 48; ++t) forced.insert(forced.end(), {t % 4, 4 + t % 4, (t + 1) % 4});
    const std::vector<float> x = c.input(1);
    const auto run = reference.mlp_layer(1, x, validate::ForcedIds(forced));
    const PassCapture capture{x, {{run.hidden, run.gate.ids, run.gate.weights}}, {}};
    PassWork work = work_of(c, Scope::moe);
    CHECK_FALSE(PassCheck(reference, work).check(capture, kTolerance).passed());
    work.forced[1] = forced;
    CHECK(PassCheck(reference, work).check(capture, kTolerance).passed());
    work.forced[1][0] = 3;
    CHECK_THAT(PassCheck(reference, work).check(capture, kTolerance).reason,
               contains_text("not what was forced"));
}

TEST_CASE("The reference pass is taken up to 10 GFLOP") {
    const model::ModelSpec tiny = model::load_preset("tiny"), v2 = model::load_preset("deepseek-v2");
    CHECK(validate::choose_kind(tiny, Scope::model, std::vector<std::int64_t>(8, 128)) ==
          validate::Kind::reference);
    CHECK(validate::choose_kind(tiny, Scope::model, std::vector<std::int64_t>(100, 8192)) ==
          validate::Kind::spot);
    CHECK(validate::choose_kind(v2, Scope::model, {128}) == validate::Kind::spot);
    CHECK(validate::choose_kind(v2, Scope::moe, {8}) == validate::Kind::reference);
    CHECK(validate::pass_flops(v2, Scope::model, {128}) > validate::pass_flops(v2, Scope::layer, {128}));
    CHECK(validate::pass_flops(v2, Scope::layer, {128}) > validate::pass_flops(v2, Scope::moe, {128}));
    model::ModelSpec dense = tiny;
    dense.n_routed_experts = 0;
    CHECK_THROWS_WITH(validate::layers_of(dense, Scope::moe), contains_text("needs a MoE layer"));
}
