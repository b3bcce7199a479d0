// Configs that the two shipped cases do not cover, against float64 values from odd_configs.py.
#include "model/spec_json.hpp"
#include "tests/catch.hpp"
#include "tests/validate/formula_weights.hpp"
#include "validate/reference.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <string>

#include <nlohmann/json.hpp>

using namespace eps;

namespace {

double error_of(const std::vector<double>& expected, const std::vector<float>& actual) {
    REQUIRE(expected.size() == actual.size());
    REQUIRE_FALSE(expected.empty());
    double largest = 0, error = 0;
    for (std::size_t i = 0; i < expected.size(); ++i) {
        largest = std::max(largest, std::abs(expected[i]));
        error = std::max(error, std::abs(expected[i] - actual[i]));
    }
    return error / largest;
}

void check_config(const nlohmann::json& odd) {
    const model::ModelSpec spec = model::parse_spec({odd["name"], odd["config"].dump(), "odd_configs.json"});
    const FormulaWeights source;
    const validate::Weights weights(source, DType::f32);
    const validate::Reference reference(spec, weights);

    std::vector<std::int32_t> ids;
    std::vector<std::int64_t> starts{0};
    for (const auto& sequence : odd["sequences"]) {
        for (const std::int32_t id : sequence) ids.push_back(id);
        starts.push_back(static_cast<std::int64_t>(ids.size()));
    }
    std::vector<float> x = reference.embed(ids);
    for (std::int64_t layer = 0; layer < spec.num_layers; ++layer) {
        INFO("layer " << layer);
        const auto& expected = odd["expected"]["layers"][static_cast<std::size_t>(layer)];
        const auto result = reference.decoder_layer(layer, starts, x);
        CHECK(error_of(expected["hidden"], result.hidden) < 5e-6);
        CHECK(result.gate.ids == expected["topk_ids"].get<std::vector<std::int32_t>>());
        if (spec.is_moe(layer)) {
            CHECK(error_of(expected["topk_weights"], result.gate.weights) < 5e-6);
            // Otherwise rounding could decide, and equal ids would be luck.
            CHECK(*std::min_element(result.gate.margins.begin(), result.gate.margins.end()) > 1e-4);
        }
        x = result.hidden;
    }
    std::vector<float> last;
    for (std::size_t s = 1; s < starts.size(); ++s)
        last.insert(last.end(), x.begin() + (starts[s] - 1) * spec.hidden_size,
                    x.begin() + starts[s] * spec.hidden_size);
    CHECK(error_of(odd["expected"]["logits_last"], reference.head(last).logits) < 5e-6);
}

}  // namespace

TEST_CASE("The reference pass computes unusual configs of the family") {
    std::ifstream file(std::string(EPS_SOURCE_DIR) + "/tests/validate/odd_configs.json");
    const nlohmann::json document = nlohmann::json::parse(file);
    REQUIRE(document.size() == 5);
    for (const auto& odd : document) {
        INFO(odd["name"].get<std::string>());
        check_config(odd);
    }
}
