// The reference pass against the values of transformers that the shipped cases hold.
#include "tests/catch.hpp"
#include "tests/validate/shipped_case.hpp"
#include "validate/arithmetic.hpp"
#include "validate/attention.hpp"
#include "validate/reference.hpp"

#include <stdexcept>

using namespace eps;

namespace {

constexpr double kClose = 1e-5;

std::vector<float> last_rows(const ShippedCase& c, const std::vector<float>& rows) {
    std::vector<std::int64_t> last;
    for (std::size_t s = 1; s < c.starts.size(); ++s) last.push_back(c.starts[s] - 1);
    return validate::gathered(rows, c.spec.hidden_size, last);
}

void check_layer_values(const ShippedCase& c, std::int64_t layer, const validate::LayerResult& result) {
    INFO(c.name << " layer " << layer);
    CHECK(relative_error(c.floats(layer, "attn_out"), result.attn_out) < kClose);
    CHECK(relative_error(c.floats(layer, "mlp_out"), result.mlp_out) < kClose);
    CHECK(relative_error(c.floats(layer, "hidden"), result.hidden) < kClose);
    if (!c.spec.is_moe(layer)) {
        CHECK(result.gate.ids.empty());
        return;
    }
    CHECK(relative_error(c.floats(layer, "router_logits"), result.gate.logits) < kClose);
    CHECK(result.gate.ids == c.ids(layer));
    CHECK(relative_error(c.floats(layer, "topk_weights"), result.gate.weights) < kClose);
    CHECK(*std::min_element(result.gate.margins.begin(), result.gate.margins.end()) > 0.02);
}

}  // namespace

TEST_CASE("Every tensor of the shipped cases is reproduced, layer by layer") {
    for (const std::string& name : kShippedCases) {
        const ShippedCase c(name);
        const validate::Weights weights(*c.weights, DType::f32);
        const validate::Reference reference(c.spec, weights);
        CHECK(reference.embed(c.ids("input_ids")) == c.floats("embed"));
        for (std::int64_t layer = 0; layer < c.spec.num_layers; ++layer)
            check_layer_values(c, layer, reference.decoder_layer(layer, c.starts, c.input(layer)));
        const std::string last = "layers." + std::to_string(c.spec.num_layers - 1) + ".hidden";
        CHECK(relative_error(c.floats("final_norm"), reference.head(c.floats(last)).final_norm) < kClose);
        CHECK(relative_error(c.floats("logits_last"), reference.head(last_rows(c, c.floats(last))).logits) <
              kClose);
    }
}

TEST_CASE("Every tensor of the shipped cases is reproduced from the token ids alone") {
    for (const std::string& name : kShippedCases) {
        const ShippedCase c(name);
        const validate::Weights weights(*c.weights, DType::f32);
        const validate::Reference reference(c.spec, weights);
        std::vector<float> x = reference.embed(c.ids("input_ids"));
        for (std::int64_t layer = 0; layer < c.spec.num_layers; ++layer) {
            const validate::LayerResult result = reference.decoder_layer(layer, c.starts, x);
            check_layer_values(c, layer, result);
            x = result.hidden;
        }
        CHECK(relative_error(c.floats("logits_last"), reference.head(last_rows(c, x)).logits) < kClose);
    }
}

TEST_CASE("The number of threads does not change a bit") {
    const ShippedCase c("tiny_v2");
    const validate::Weights one(*c.weights, DType::f32, 1), three(*c.weights, DType::f32, 3);
    const auto a = validate::Reference(c.spec, one).decoder_layer(1, c.starts, c.input(1));
    const auto b = validate::Reference(c.spec, three).decoder_layer(1, c.starts, c.input(1));
    CHECK(a.hidden == b.hidden);
    CHECK(a.gate.weights == b.gate.weights);
    // Enough work for a matrix to be shared out as well.
    const std::vector<float> x(512 * 64, 0.5F);
    CHECK(one.project("lm_head.weight", 128, x, 64) == three.project("lm_head.weight", 128, x, 64));
}

TEST_CASE("The pieces of a layer add up to it") {
    const ShippedCase c("tiny_v2_lite");
    const validate::Weights weights(*c.weights, DType::f32);
    const validate::Reference reference(c.spec, weights);
    const std::vector<float> x = c.input(1);
    const auto whole = reference.decoder_layer(1, c.starts, x);
    CHECK(reference.attention_block(1, c.starts, x) == whole.attn_out);
    const auto half = reference.mlp_layer(1, whole.after_attention);
    CHECK(half.hidden == whole.hidden);
    CHECK(half.attn_out.empty());
    CHECK(reference.mlp_block(1, whole.after_attention).mlp_out == whole.mlp_out);
}

TEST_CASE("For a bf16 run weights are rounded to bf16") {
    const ShippedCase c("tiny_v2_lite");
    const validate::Weights exact(*c.weights, DType::f32), rounded(*c.weights, DType::bf16);
    const auto a = exact.vector("model.norm.weight", 48), b = rounded.vector("model.norm.weight", 48);
    CHECK(a != b);
    for (std::size_t i = 0; i < a.size(); ++i) CHECK(b[i] == rounded_to(DType::bf16, a[i]));
}

TEST_CASE("Forced ids decide which experts run") {
    const ShippedCase c("tiny_v2");
    const validate::Weights weights(*c.weights, DType::f32);
    const validate::Reference reference(c.spec, weights);
    const auto free = reference.decoder_layer(2, c.starts, c.input(2));
    std::vector<std::int32_t> forced = free.gate.ids;
    const auto same = reference.decoder_layer(2, c.starts, c.input(2), validate::ForcedIds(forced));
    CHECK(same.hidden == free.hidden);
    forced[3] = 15 - forced[3];
    const auto other = reference.decoder_layer(2, c.starts, c.input(2), validate::ForcedIds(forced));
    for (std::size_t i = 0; i < other.hidden.size(); ++i)
        if (i / 64 != 1) REQUIRE(other.hidden[i] == free.hidden[i]);
    CHECK(other.hidden != free.hidden);
}

TEST_CASE("What a part throws on a thread of its own is thrown to the caller") {
    CHECK_THROWS_AS(validate::for_parts(4, 4,
                                        [](Range part) {
                                            if (part.begin == 2) throw std::runtime_error("part 2");
                                        }),
                    std::runtime_error);
    std::vector<int> seen(10);
    validate::for_parts(10, 3, [&](Range part) {
        for (std::int64_t i = part.begin; i < part.end; ++i) ++seen[static_cast<std::size_t>(i)];
    });
    CHECK(seen == std::vector<int>(10, 1));
}
