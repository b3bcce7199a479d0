#include "validate/gate.hpp"

#include "base/error.hpp"
#include "validate/arithmetic.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

namespace eps::validate {
namespace {

constexpr double kNever = -std::numeric_limits<double>::infinity();

bool has_groups(const model::ModelSpec& spec) {
    return spec.group_limited && spec.n_group > 1;
}

std::int64_t group_of(const model::ModelSpec& spec, std::int64_t expert) {
    return expert / (spec.n_routed_experts / spec.n_group);
}

std::vector<double> group_scores(const model::ModelSpec& spec, std::span<const float> scores) {
    std::vector<double> best(static_cast<std::size_t>(spec.n_group), 0.0);
    for (std::size_t e = 0; e < scores.size(); ++e) {
        double& group = best[static_cast<std::size_t>(group_of(spec, static_cast<std::int64_t>(e)))];
        group = std::max<double>(group, scores[e]);
    }
    return best;
}

// Adds the best of those not yet kept, lower index first among equals, until `count` are.
template <typename Scores>
void keep_best(const Scores& scores, std::int64_t count, std::vector<bool>& kept) {
    for (auto num = std::count(kept.begin(), kept.end(), true); num < count; ++num) {
        std::size_t best = kept.size();
        for (std::size_t i = 0; i < kept.size(); ++i)
            if (!kept[i] && (best == kept.size() || scores[i] > scores[best])) best = i;
        if (best == kept.size()) return;
        kept[best] = true;
    }
}

// The groups that hold `ids`, filled up with the best other ones.
std::vector<bool> kept_groups(const model::ModelSpec& spec, std::span<const double> scores,
                              std::span<const std::int32_t> ids) {
    std::vector<bool> kept(scores.size(), false);
    for (const std::int32_t id : ids) kept[static_cast<std::size_t>(group_of(spec, id))] = true;
    keep_best(scores, spec.topk_group, kept);
    return kept;
}

std::vector<std::int32_t> best_experts(const model::ModelSpec& spec, std::span<const float> scores) {
    std::vector<double> open(scores.begin(), scores.end());
    if (has_groups(spec)) {
        const std::vector<bool> groups = kept_groups(spec, group_scores(spec, scores), {});
        for (std::size_t e = 0; e < open.size(); ++e)
            if (!groups[static_cast<std::size_t>(group_of(spec, static_cast<std::int64_t>(e)))]) open[e] = 0;
    }
    std::vector<bool> chosen(open.size(), false);
    keep_best(open, spec.num_experts_per_tok, chosen);
    std::vector<std::int32_t> ids;
    for (std::size_t e = 0; e < chosen.size(); ++e)
        if (chosen[e]) ids.push_back(static_cast<std::int32_t>(e));
    return ids;
}

std::vector<float> weights_of(const model::ModelSpec& spec, std::span<const float> scores,
                              std::span<const std::int32_t> ids) {
    double total = 0;
    for (const std::int32_t id : ids) total += scores[static_cast<std::size_t>(id)];
    const bool normed = spec.norm_topk_prob && ids.size() > 1;  // then without the factor
    const double factor = normed ? 1 / (total + 1e-20) : spec.routed_scaling_factor;
    std::vector<float> weights;
    for (const std::int32_t id : ids)
        weights.push_back(static_cast<float>(scores[static_cast<std::size_t>(id)] * factor));
    return weights;
}

double relative_difference(double chosen, double left_out) {
    const double larger = std::max(chosen, left_out);
    return larger > 0 ? (chosen - left_out) / larger : 0;
}

// Smallest score inside against the largest outside; entries that are not `open` take no part.
template <typename Scores>
double margin_between(const Scores& scores, const std::vector<bool>& inside, const std::vector<bool>& open) {
    double least = std::numeric_limits<double>::infinity(), most = -1;
    for (std::size_t i = 0; i < inside.size(); ++i) {
        if (inside[i]) least = std::min<double>(least, scores[i]);
        if (!inside[i] && open[i]) most = std::max<double>(most, scores[i]);
    }
    return most < 0 ? 1 : relative_difference(least, most);
}

}  // namespace

GateResult decide(const model::ModelSpec& spec, std::vector<float> logits, ForcedIds forced) {
    const auto num_experts = static_cast<std::size_t>(spec.n_routed_experts);
    const auto top_k = static_cast<std::size_t>(spec.num_experts_per_tok);
    GateResult result;
    result.logits = std::move(logits);
    for (std::size_t t = 0; t < result.logits.size() / num_experts; ++t) {
        std::vector<double> p(num_experts);
        std::copy_n(result.logits.begin() + static_cast<std::ptrdiff_t>(t * num_experts), num_experts,
                    p.begin());
        softmax(p);
        std::vector<float> scores(num_experts);
        std::transform(p.begin(), p.end(), scores.begin(), [](double v) { return static_cast<float>(v); });

        std::vector<std::int32_t> ids;
        if (forced)
            ids.assign(forced->begin() + static_cast<std::ptrdiff_t>(t * top_k),
                       forced->begin() + static_cast<std::ptrdiff_t>((t + 1) * top_k));
        else
            ids = best_experts(spec, scores);
        for (const std::int32_t id : ids)
            if (id < 0 || id >= spec.n_routed_experts)
                throw Error(Exit::internal,
                            fmt::format("token {} is routed to expert {} of {}", t, id, num_experts));
        std::sort(ids.begin(), ids.end(), [&](std::int32_t a, std::int32_t b) {
            const float x = scores[static_cast<std::size_t>(a)], y = scores[static_cast<std::size_t>(b)];
            return x != y ? x > y : a < b;
        });
        const std::vector<float> weights = weights_of(spec, scores, ids);
        result.margins.push_back(choice_margin(spec, scores, ids));
        result.scores.insert(result.scores.end(), scores.begin(), scores.end());
        result.ids.insert(result.ids.end(), ids.begin(), ids.end());
        result.weights.insert(result.weights.end(), weights.begin(), weights.end());
    }
    return result;
}

double choice_margin(const model::ModelSpec& spec, std::span<const float> scores,
                     std::span<const std::int32_t> ids) {
    std::vector<bool> chosen(scores.size(), false);
    for (const std::int32_t id : ids) {
        if (id < 0 || id >= spec.n_routed_experts || chosen[static_cast<std::size_t>(id)]) return kNever;
        chosen[static_cast<std::size_t>(id)] = true;
    }
    std::vector<bool> open(scores.size(), true);
    if (!has_groups(spec)) return margin_between(scores, chosen, open);

    const std::vector<double> groups = group_scores(spec, scores);
    const std::vector<bool> kept = kept_groups(spec, groups, ids);
    if (std::count(kept.begin(), kept.end(), true) > spec.topk_group) return kNever;
    for (std::size_t e = 0; e < open.size(); ++e)
        open[e] = kept[static_cast<std::size_t>(group_of(spec, static_cast<std::int64_t>(e)))];
    const double between_groups = margin_between(groups, kept, std::vector<bool>(kept.size(), true));
    return std::min(between_groups, margin_between(scores, chosen, open));
}

double spread(std::span<const float> logits) {
    if (logits.empty()) return 0;
    const auto n = static_cast<double>(logits.size());
    double mean = 0, square = 0;
    for (const float v : logits) mean += v / n;
    for (const float v : logits) square += (v - mean) * (v - mean) / n;
    return std::sqrt(square);
}

}  // namespace eps::validate
