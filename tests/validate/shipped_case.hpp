// The two checkpoints with reference values that the repository holds in tests/data/cases.
#pragma once

#include "checkpoint/checkpoint.hpp"
#include "checkpoint/safetensors.hpp"
#include "model/spec_json.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

struct ShippedCase {
    std::string name;
    eps::model::ModelSpec spec;
    std::unique_ptr<eps::checkpoint::WeightSource> weights;
    eps::checkpoint::Safetensors reference;
    std::vector<std::int64_t> starts{0, 24, 48};

    explicit ShippedCase(const std::string& case_name)
        : name(case_name),
          spec(eps::model::load_checkpoint_spec(folder())),
          weights(eps::checkpoint::open_checkpoint(folder(), spec)),
          reference(folder() + "/reference.safetensors") {}

    std::string folder() const { return std::string(EPS_SOURCE_DIR) + "/tests/data/cases/" + name; }

    std::vector<float> floats(const std::string& tensor) const { return reference.floats(tensor); }
    std::vector<float> floats(std::int64_t layer, const std::string& tensor) const {
        return floats("layers." + std::to_string(layer) + "." + tensor);
    }
    std::vector<std::int32_t> ids(const std::string& tensor) const {
        const std::vector<std::int64_t> wide = reference.integers(tensor);
        return {wide.begin(), wide.end()};
    }
    std::vector<std::int32_t> ids(std::int64_t layer) const {
        return ids("layers." + std::to_string(layer) + ".topk_ids");
    }
    /// Rows that enter `layer`.
    std::vector<float> input(std::int64_t layer) const {
        return layer == 0 ? floats("embed") : floats(layer - 1, "hidden");
    }
};

inline const std::vector<std::string> kShippedCases{"tiny_v2", "tiny_v2_lite"};

/// max |a - b| / max |expected|; infinite where sizes differ.
inline double relative_error(const std::vector<float>& expected, const std::vector<float>& actual) {
    if (expected.size() != actual.size() || expected.empty()) return INFINITY;
    double largest = 0, error = 0;
    for (std::size_t i = 0; i < expected.size(); ++i) {
        largest = std::max(largest, std::abs(static_cast<double>(expected[i])));
        error = std::max(error, std::abs(static_cast<double>(expected[i]) - actual[i]));
    }
    return error / largest;
}
