// Synthetic weights keep the rows of a deep model of order 1, and its gates undecided.
#include "checkpoint/synthetic.hpp"
#include "model/spec_json.hpp"
#include "tests/catch.hpp"
#include "validate/reference.hpp"
#include "validate/weights.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <vector>

using namespace eps;

namespace {

double root_mean_square(const std::vector<float>& values) {
    double sum = 0;
    for (const float value : values) sum += double{value} * double{value};
    return std::sqrt(sum / static_cast<double>(values.size()));
}

}  // namespace

TEST_CASE("synthetic rows stay of order 1 through 60 layers") {
    for (
        const char* gate :
        {R"("routed_scaling_factor": 16.0)", R"("topk_method": "greedy", "routed_scaling_factor": 1.0)",
         R"("norm_topk_prob": true, "n_shared_experts": null, "q_lora_rank": null, "attention_bias": true)"}) {
        INFO(gate);
        const model::ModelSpec spec =
            model::load_preset("tiny", std::string("{\"num_hidden_layers\": 60, ") + gate + "}");
        const auto source = checkpoint::synthetic_weights(spec, 1);
        const validate::Weights weights(*source, DType::f32);
        const validate::Reference reference(spec, weights);
        const std::vector<std::int64_t> starts{0, 12, 32};
        std::vector<std::int32_t> ids(32);
        std::iota(ids.begin(), ids.end(), 100);
        std::vector<float> hidden = reference.embed(ids);
        std::vector<std::int64_t> rows_of_expert(15, 0);
        for (std::int64_t layer = 0; layer < spec.num_layers; ++layer) {
            const validate::LayerResult result = reference.decoder_layer(layer, starts, hidden);
            INFO("layer " << layer);
            hidden = result.hidden;
            CHECK(root_mean_square(hidden) > 0.3);
            CHECK(root_mean_square(hidden) < 5);
            for (const auto id : result.gate.ids) ++rows_of_expert[static_cast<std::size_t>(id)];
        }
        CHECK(root_mean_square(hidden) > 1.5);
        const double logits = root_mean_square(reference.head(hidden).logits);
        CHECK(logits > 0.5);
        CHECK(logits < 2);
        // 59 layers x 32 tokens x 3 slots over 15 experts: 377 each on average.
        CHECK(*std::min_element(rows_of_expert.begin(), rows_of_expert.end()) > 250);
        CHECK(*std::max_element(rows_of_expert.begin(), rows_of_expert.end()) < 500);
    }
}
