// Twin of gate: scores by plain loops, choice by sorting.
#include "kernels/element.hpp"
#include "kernels/reference_ops.hpp"
#include "kernels/require.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

namespace eps::kernels::reference {
namespace {

std::vector<float> scores_of(const Rows& in, const Rows& weight, std::int64_t row) {
    const std::vector<float> x = row_values(in, row);
    std::vector<float> scores;
    for (std::int64_t expert = 0; expert < weight.num_rows; ++expert) {
        float logit = 0;
        for (std::size_t i = 0; i < x.size(); ++i) {
            logit += x[i] * get(weight, expert, static_cast<std::int64_t>(i));
        }
        scores.push_back(logit);
    }
    const float largest = *std::max_element(scores.begin(), scores.end());
    float sum = 0;
    for (float& s : scores) {
        s = std::exp(s - largest);
        sum += s;
    }
    for (float& s : scores) s /= sum;
    return scores;
}

/// Numbers 0..n-1 by descending value, ties to the lower number. NaN sorts like minus infinity.
std::vector<std::int32_t> by_descending_value(const std::vector<float>& values) {
    std::vector<float> keys = values;
    for (float& key : keys) {
        if (std::isnan(key)) key = -std::numeric_limits<float>::infinity();
    }
    std::vector<std::int32_t> order(values.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
        return keys[static_cast<std::size_t>(a)] > keys[static_cast<std::size_t>(b)];
    });
    return order;
}

/// Scores outside the best `topk_group` groups become 0; a group is as good as its best expert.
void keep_best_groups(std::vector<float>& scores, const GateArgs& args) {
    const std::size_t group_size = scores.size() / static_cast<std::size_t>(args.n_group);
    std::vector<float> group_scores;
    for (std::size_t first = 0; first + group_size <= scores.size(); first += group_size) {
        const auto begin = scores.begin() + static_cast<std::ptrdiff_t>(first);
        group_scores.push_back(*std::max_element(begin, begin + static_cast<std::ptrdiff_t>(group_size)));
    }
    const std::vector<std::int32_t> order = by_descending_value(group_scores);
    for (auto i = static_cast<std::size_t>(args.topk_group); i < order.size(); ++i) {
        const std::size_t first = static_cast<std::size_t>(order[i]) * group_size;
        for (std::size_t e = first; e < first + group_size; ++e) scores[e] = 0;
    }
}

}  // namespace

void gate(Rows in, Rows weight, const GateArgs& args, std::int32_t* ids, float* weights, int) {
    require(in.num_cols == weight.num_cols && args.top_k <= weight.num_rows, "gate",
            "weight [experts >= top_k, cols]", in, weight);
    const auto top_k = static_cast<std::size_t>(args.top_k);
    for (std::int64_t row = 0; row < in.num_rows; ++row) {
        std::vector<float> scores = scores_of(in, weight, row);
        std::int32_t* row_ids = ids + row * args.top_k;
        float* row_weights = weights + row * args.top_k;
        if (!args.forced && args.n_group > 1) keep_best_groups(scores, args);
        const std::vector<std::int32_t> order = by_descending_value(scores);
        std::vector<std::int32_t> chosen;
        for (const std::int32_t id : order) {
            const bool wanted = !args.forced || std::find(row_ids, row_ids + top_k, id) != row_ids + top_k;
            if (wanted && chosen.size() < top_k) chosen.push_back(id);
        }
        float sum = 0;
        for (std::size_t slot = 0; slot < top_k; ++slot) {
            row_ids[slot] = chosen[slot];
            row_weights[slot] = scores[static_cast<std::size_t>(chosen[slot])];
            sum += row_weights[slot];
        }
        const bool normalise = args.norm_topk_prob && args.top_k > 1;
        for (std::size_t slot = 0; slot < top_k; ++slot) {
            if (normalise)
                row_weights[slot] /= sum + 1e-20F;
            else
                row_weights[slot] *= static_cast<float>(args.routed_scaling_factor);
        }
    }
}

}  // namespace eps::kernels::reference
