// Rotary embedding with YaRN, and the softmax scale that goes with it, from the model's config.
#pragma once

#include "model/spec.hpp"

#include <vector>

namespace eps::model {

struct Rope {
    std::vector<double> inverse_frequencies;  // one per interleaved pair (2i, 2i+1)
    double cos_sin_factor = 1;                // on cos and sin
    double softmax_scale = 1;                 // of attention scores
};

/// YaRN (arXiv 2309.00071) in DeepSeek's form: interpolated frequencies between low and high, cos and sin
/// scaled by ms(mscale) / ms(mscale_all_dim), scores by ms(mscale_all_dim)^2, with ms(x) = 0.1 x ln(factor)
/// + 1.
Rope make_rope(const ModelSpec& spec);

}  // namespace eps::model
