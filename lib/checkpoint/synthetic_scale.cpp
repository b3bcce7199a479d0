#include "checkpoint/synthetic_scale.hpp"

#include "base/random.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

namespace eps::checkpoint {
namespace {

constexpr double kNormDeviation = 0.1;  // of norm weights around 1
constexpr double kBiasDeviation = 0.1;
constexpr double kLogitDeviation = 1.25;  // of the gate's logits: choices are neither all alike nor all equal
constexpr double kSwigluSize = 0.6;       // root mean square of silu(a) * b, a and b normal

/// Two branches a layer: with this the rows grow to about 2.5 through any number of layers.
double branch_size(std::int64_t num_layers) {
    return std::min(1.0, 2 / std::sqrt(2.0 * static_cast<double>(num_layers)));
}

/// Expected root of the sum of squared gate weights of a token, from gates with normal logits (groups left
/// aside).
double gate_size(const model::ModelSpec& spec) {
    constexpr std::uint64_t kNumTrials = 64;
    const auto num_experts = static_cast<std::uint64_t>(spec.n_routed_experts);
    const std::uint64_t key = stream_key(0, "gate size");
    double sum_of_sizes = 0;
    std::vector<double> scores(num_experts);
    for (std::uint64_t trial = 0; trial < kNumTrials; ++trial) {
        double all = 0, chosen = 0, squares = 0;
        for (std::uint64_t i = 0; i < num_experts; ++i)
            all += scores[i] =
                std::exp(kLogitDeviation * double{random_normal(key, trial * num_experts + i)});
        std::sort(scores.begin(), scores.end(), std::greater<>());
        for (std::int64_t k = 0; k < spec.num_experts_per_tok; ++k) {
            const double score = scores[static_cast<std::size_t>(k)];
            chosen += score;
            squares += score * score;
        }
        const bool is_normed = spec.norm_topk_prob && spec.num_experts_per_tok > 1;
        sum_of_sizes += std::sqrt(squares) * (is_normed ? 1 / chosen : spec.routed_scaling_factor / all);
    }
    return sum_of_sizes / static_cast<double>(kNumTrials);
}

/// To ten bits: exp differs in the last bit between machines, weights must not.
float coarse(double value) {
    int exponent = 0;
    const double fraction = std::frexp(value, &exponent);
    return static_cast<float>(std::ldexp(std::nearbyint(fraction * 1024) / 1024, exponent));
}

}  // namespace

SyntheticScales::SyntheticScales(const model::ModelSpec& spec)
    : branch_(branch_size(spec.num_hidden_layers)),
      routed_(spec.n_routed_experts > 0 ? gate_size(spec) : 1) {}

WeightScale SyntheticScales::of(const model::Tensor& tensor) const {
    using model::Part;
    const double fan_in = 1 / std::sqrt(static_cast<double>(tensor.cols));
    const auto is_of = [&](const char* what) { return tensor.name.find(what) != std::string::npos; };
    if (tensor.part == Part::norm) return {1, coarse(kNormDeviation)};
    if (tensor.part == Part::embedding) return {0, 1};
    if (tensor.part == Part::gate) return {0, coarse(kLogitDeviation * fan_in)};
    const double ending_branch = is_of(".o_proj.") || is_of(".down_proj.") ? branch_ : 1;
    if (tensor.is_vector) return {0, coarse(kBiasDeviation * ending_branch)};
    double deviation = fan_in * ending_branch;
    if (is_of(".down_proj.")) deviation /= kSwigluSize;
    if (is_of(".down_proj.") && tensor.part == Part::routed) deviation /= routed_;
    return {0, coarse(deviation)};
}

}  // namespace eps::checkpoint
