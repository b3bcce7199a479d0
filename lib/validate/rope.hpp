// Rotary embedding and its YaRN scaling, from the published formulas.
#pragma once

#include "model/spec.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace eps::validate {

/// Angle of pair i at position p is p * inverse_frequencies[i]; cos and sin are both multiplied by `factor`.
struct RotaryTable {
    std::vector<double> inverse_frequencies;  // qk_rope_head_dim / 2
    double factor = 1;
};

RotaryTable rotary_table(const model::ModelSpec& spec);

/// What scores are multiplied by before the softmax.
double softmax_scale(const model::ModelSpec& spec);

/// Rotates the interleaved pairs (2i, 2i+1) of `values` (qk_rope_head_dim of them) in place: (a, b) -> (a cos
/// - b sin, a sin + b cos).
void rotate(std::span<float> values, std::int64_t position, const RotaryTable& table);

}  // namespace eps::validate
