#include "validate/rope.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace eps::validate {
namespace {

// 1 at factor 1, growing with the logarithm of the factor.
double magnitude(double factor, double mscale) {
    return factor > 1 ? 0.1 * mscale * std::log(factor) + 1 : 1;
}

// The (fractional) pair index that makes `rotations` full turns within the original context.
double dim_of_rotations(double rotations, double dim, double theta, double original_context) {
    return dim * std::log(original_context / (rotations * 2 * std::numbers::pi)) / (2 * std::log(theta));
}

}  // namespace

RotaryTable rotary_table(const model::ModelSpec& spec) {
    const auto dim = static_cast<double>(spec.qk_rope_head_dim);
    RotaryTable table;
    for (std::int64_t i = 0; i < spec.qk_rope_head_dim / 2; ++i)
        table.inverse_frequencies.push_back(std::pow(spec.rope_theta, -2 * static_cast<double>(i) / dim));
    if (!spec.yarn) return table;

    const model::Yarn& yarn = *spec.yarn;
    const double context = yarn.original_max_position_embeddings;
    const double low =
        std::max(std::floor(dim_of_rotations(yarn.beta_fast, dim, spec.rope_theta, context)), 0.0);
    double high =
        std::min(std::ceil(dim_of_rotations(yarn.beta_slow, dim, spec.rope_theta, context)), dim - 1);
    if (high == low) high += 0.001;
    for (std::size_t i = 0; i < table.inverse_frequencies.size(); ++i) {
        // 0 keeps the frequency (extrapolation), 1 divides it by the factor (interpolation).
        const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
        double& frequency = table.inverse_frequencies[i];
        frequency = frequency / yarn.factor * ramp + frequency * (1 - ramp);
    }
    table.factor = magnitude(yarn.factor, yarn.mscale) / magnitude(yarn.factor, yarn.mscale_all_dim);
    return table;
}

double softmax_scale(const model::ModelSpec& spec) {
    const double scale = 1 / std::sqrt(static_cast<double>(spec.qk_nope_head_dim + spec.qk_rope_head_dim));
    if (!spec.yarn || spec.yarn->mscale_all_dim == 0) return scale;
    const double m = magnitude(spec.yarn->factor, spec.yarn->mscale_all_dim);
    return scale * m * m;
}

void rotate(std::span<float> values, std::int64_t position, const RotaryTable& table) {
    for (std::size_t i = 0; i < table.inverse_frequencies.size(); ++i) {
        const double angle = static_cast<double>(position) * table.inverse_frequencies[i];
        const double c = std::cos(angle) * table.factor, s = std::sin(angle) * table.factor;
        const double a = values[2 * i], b = values[2 * i + 1];
        values[2 * i] = static_cast<float>(a * c - b * s);
        values[2 * i + 1] = static_cast<float>(a * s + b * c);
    }
}

}  // namespace eps::validate
