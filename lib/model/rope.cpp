#include "model/rope.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace eps::model {

namespace {

double magnitude(double factor, double mscale) {
    return factor > 1 ? 0.1 * mscale * std::log(factor) + 1 : 1;
}

// The (fractional) pair whose wavelength makes `rotations` turns over the original context.
double pair_with_rotations(const ModelSpec& spec, double rotations) {
    const auto dim = static_cast<double>(spec.qk_rope_head_dim);
    return dim * std::log(spec.yarn->original_max_position_embeddings / (2 * std::numbers::pi * rotations)) /
           (2 * std::log(spec.rope_theta));
}

}  // namespace

Rope make_rope(const ModelSpec& spec) {
    Rope rope;
    const auto dim = static_cast<double>(spec.qk_rope_head_dim);
    double low = 0, high = 0;
    if (spec.yarn) {
        low = std::max(std::floor(pair_with_rotations(spec, spec.yarn->beta_fast)), 0.0);
        high = std::min(std::ceil(pair_with_rotations(spec, spec.yarn->beta_slow)), dim - 1);
        if (low == high) high += 0.001;
    }
    for (std::int64_t i = 0; i < spec.qk_rope_head_dim / 2; ++i) {
        const double extrapolated = std::pow(spec.rope_theta, -2.0 * static_cast<double>(i) / dim);
        double ramp = 0;
        if (spec.yarn) ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
        const double interpolated = spec.yarn ? extrapolated / spec.yarn->factor : extrapolated;
        rope.inverse_frequencies.push_back(interpolated * ramp + extrapolated * (1 - ramp));
    }
    rope.softmax_scale = 1 / std::sqrt(static_cast<double>(spec.qk_head_dim()));
    if (spec.yarn) {
        const double all_dim = magnitude(spec.yarn->factor, spec.yarn->mscale_all_dim);
        rope.cos_sin_factor = magnitude(spec.yarn->factor, spec.yarn->mscale) / all_dim;
        if (spec.yarn->mscale_all_dim != 0) rope.softmax_scale *= all_dim * all_dim;
    }
    return rope;
}

}  // namespace eps::model
