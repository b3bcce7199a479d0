#include "kernels/cpu/gate_choice.hpp"

#include <algorithm>
#include <vector>

namespace eps::kernels::cpu {
namespace {

/// A place in the order: higher value first, NaN behind all numbers, ties to the lower id.
bool comes_before(float a_value, std::int32_t a_id, float b_value, std::int32_t b_id) {
    if (a_value > b_value) return true;
    if (a_value < b_value) return false;
    const bool a_nan = a_value != a_value;
    const bool b_nan = b_value != b_value;
    return a_nan == b_nan ? a_id < b_id : b_nan;
}

/// Inserts (value, id) into the `count` best so far, sorted, of which at most `limit` are kept; returns the
/// new count.
std::int64_t insert_sorted(float value, std::int32_t id, float* values, std::int32_t* ids, std::int64_t count,
                           std::int64_t limit) {
    std::int64_t place = count;
    while (place > 0 && comes_before(value, id, values[place - 1], ids[place - 1])) --place;
    if (place == limit) return count;
    const std::int64_t new_count = std::min(count + 1, limit);
    for (std::int64_t i = new_count - 1; i > place; --i) {
        values[i] = values[i - 1];
        ids[i] = ids[i - 1];
    }
    values[place] = value;
    ids[place] = id;
    return new_count;
}

void keep_best_groups(std::span<float> scores, const GateArgs& args) {
    const std::int64_t group_size = static_cast<std::int64_t>(scores.size()) / args.n_group;
    thread_local std::vector<float> best;
    thread_local std::vector<std::int32_t> kept;
    best.resize(static_cast<std::size_t>(args.topk_group));
    kept.resize(static_cast<std::size_t>(args.topk_group));
    std::int64_t count = 0;
    for (std::int64_t group = 0; group < args.n_group; ++group) {
        const auto first = scores.begin() + group * group_size;
        const float score = *std::max_element(first, first + group_size);
        count = insert_sorted(score, static_cast<std::int32_t>(group), best.data(), kept.data(), count,
                              args.topk_group);
    }
    for (std::int64_t group = 0; group < args.n_group; ++group) {
        if (std::find(kept.begin(), kept.begin() + count, group) != kept.begin() + count) continue;
        const auto first = scores.begin() + group * group_size;
        std::fill(first, first + group_size, 0.0F);
    }
}

}  // namespace

void choose(std::span<float> scores, const GateArgs& args, std::int32_t* ids, float* weights) {
    std::int64_t count = 0;
    if (args.forced) {
        for (std::int64_t slot = 0; slot < args.top_k; ++slot) {
            const std::int32_t id = ids[slot];
            count = insert_sorted(scores[static_cast<std::size_t>(id)], id, weights, ids, count, args.top_k);
        }
    } else {
        if (args.n_group > 1) keep_best_groups(scores, args);
        for (std::size_t id = 0; id < scores.size(); ++id) {
            const bool full = count == args.top_k;
            if (full && scores[id] <= weights[count - 1]) continue;
            count = insert_sorted(scores[id], static_cast<std::int32_t>(id), weights, ids, count, args.top_k);
        }
    }
    if (args.norm_topk_prob && args.top_k > 1) {
        float sum = 0;
        for (std::int64_t slot = 0; slot < args.top_k; ++slot) sum += weights[slot];
        for (std::int64_t slot = 0; slot < args.top_k; ++slot) weights[slot] /= sum + 1e-20F;
    } else {
        const auto factor = static_cast<float>(args.routed_scaling_factor);
        for (std::int64_t slot = 0; slot < args.top_k; ++slot) weights[slot] *= factor;
    }
}

}  // namespace eps::kernels::cpu
