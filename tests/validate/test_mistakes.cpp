// The check accepts a correct pass in f32 and in bf16, and refuses every mistake that implementations of this
// model are known to make.
#include "tests/catch.hpp"
#include "tests/validate/mistaken_layer.hpp"
#include "tests/validate/shipped_case.hpp"

#include <map>

using namespace eps;

namespace {

const std::map<std::string, Mistake> kMistakes{
    {"no rope", Mistake::no_rope},
    {"half layout", Mistake::half_layout},
    {"rope without YaRN", Mistake::plain_rope},
    {"rope with every frequency scaled", Mistake::scaled_rope},
    {"no mscale", Mistake::no_mscale},
    {"mscale once", Mistake::mscale_once},
    {"no factor on cos and sin", Mistake::no_cos_factor},
    {"scale from the nope part", Mistake::nope_scale},
    {"not causal", Mistake::not_causal},
    {"one sequence", Mistake::one_sequence},
    {"no group limit", Mistake::no_group_limit},
    {"groups by sum of two", Mistake::group_sum_of_two},
    {"norm ignored", Mistake::norm_ignored},
    {"no routed factor", Mistake::no_factor},
    {"no shared experts", Mistake::no_shared},
    {"no residual", Mistake::no_residual},
    {"lost expert", Mistake::lost_expert},
};

// One result for each layer, each from the case's own input of that layer.
std::vector<validate::CheckResult> check_layers(const ShippedCase& c, const model::ModelSpec& spec,
                                                DType dtype, Mistake mistake) {
    const validate::Weights weights(*c.weights, dtype);
    const validate::Reference reference(spec, weights);
    const MistakenLayer run(spec, *c.weights, dtype, mistake);
    std::vector<validate::CheckResult> results;
    for (std::int64_t layer = 0; layer < spec.num_layers; ++layer) {
        std::vector<float> x = c.input(layer);
        for (float& v : x) v = rounded_to(dtype, v);
        results.push_back(validate::check_layer(spec, validate::tolerance_of(dtype), layer, x,
                                                reference.decoder_layer(layer, c.starts, x),
                                                run.run(layer, c.starts, x)));
    }
    return results;
}

bool is_caught(DType dtype, Mistake mistake) {
    for (const std::string& name : kShippedCases) {
        const ShippedCase c(name);
        model::ModelSpec spec = c.spec;
        // In the cases both mscales are equal, so that the factor on cos and sin is 1.
        if (mistake == Mistake::no_cos_factor && spec.yarn) spec.yarn->mscale_all_dim = 0;
        if (!validate::combined("reference", check_layers(c, spec, dtype, mistake)).passed()) return true;
    }
    return false;
}

}  // namespace

TEST_CASE("A correct layer passes, with room to the bound") {
    for (const DType dtype : {DType::f32, DType::bf16}) {
        for (const std::string& name : kShippedCases) {
            const ShippedCase c(name);
            for (const validate::CheckResult& result : check_layers(c, c.spec, dtype, Mistake::none)) {
                INFO(name << " " << name_of(dtype) << ": " << result.reason);
                CHECK(result.passed());
                CHECK(result.compared > 48 * c.spec.hidden_size / 2);
                CHECK(result.max_error > 0);
                CHECK(result.max_error < (dtype == DType::f32 ? 1e-6 : 1.2e-2));
            }
        }
    }
}

TEST_CASE("Every known mistake is caught, in f32 and in bf16") {
    for (const auto& [name, mistake] : kMistakes) {
        INFO(name);
        CHECK(is_caught(DType::f32, mistake));
        CHECK(is_caught(DType::bf16, mistake));
    }
}

TEST_CASE("A layer computed in bf16 is beyond the bound of f32") {
    const ShippedCase c("tiny_v2_lite");
    const validate::Weights weights(*c.weights, DType::f32);
    const validate::Reference reference(c.spec, weights);
    const std::vector<float> x = c.input(0);
    const auto capture = MistakenLayer(c.spec, *c.weights, DType::bf16, Mistake::none).run(0, c.starts, x);
    const auto expected = reference.decoder_layer(0, c.starts, x);
    CHECK_FALSE(
        validate::check_layer(c.spec, validate::tolerance_of(DType::f32), 0, x, expected, capture).passed());
}
