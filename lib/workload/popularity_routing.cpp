#include "workload/popularity_routing.hpp"

#include "base/random.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <fmt/core.h>

namespace eps::workload {
namespace {

std::uint64_t layer_key(std::uint64_t seed, std::int64_t layer, const char* what) {
    return stream_key(seed, fmt::format("routing.layers.{}.{}", layer, what));
}

/// Random number `item` of a token, of `num_items` that each token has.
double uniform_of(std::uint64_t key, std::int64_t token, std::int64_t num_items, std::int64_t item) {
    return random_uniform(key, static_cast<std::uint64_t>(token * num_items + item));
}

}  // namespace

PopularityRouting::PopularityRouting(const model::ModelSpec& spec, std::uint64_t seed, double exponent)
    : limits_(spec), seed_(seed), exponent_(exponent) {}

std::vector<double> PopularityRouting::expert_weights(std::int64_t layer) const {
    const std::uint64_t key = layer_key(seed_, layer, "popularity");
    std::vector<Candidate> by_popularity;
    for (std::int64_t expert = 0; expert < limits_.num_experts; ++expert)
        by_popularity.push_back({random_uniform(key, static_cast<std::uint64_t>(expert)), expert});
    keep_smallest(by_popularity, limits_.num_experts);
    std::vector<double> weights(by_popularity.size());
    for (std::size_t i = 0; i < by_popularity.size(); ++i)
        weights[static_cast<std::size_t>(by_popularity[i].item)] =
            std::pow(static_cast<double>(i + 1), -exponent_);
    return weights;
}

void PopularityRouting::write_ids(std::int64_t layer, Range tokens, std::span<std::int32_t> out) const {
    const std::vector<double> weights = expert_weights(layer);
    const auto weight_of = [&](std::int64_t expert) { return weights[static_cast<std::size_t>(expert)]; };
    std::vector<double> group_weights;
    for (std::int64_t group = 0; group < limits_.num_groups; ++group) {
        const Range experts = limits_.experts_of(group);
        group_weights.push_back(
            std::accumulate(weights.begin() + experts.begin, weights.begin() + experts.end, 0.0));
    }
    const std::uint64_t group_key = layer_key(seed_, layer, "groups");
    const std::uint64_t expert_key = layer_key(seed_, layer, "experts");

    std::vector<Candidate> groups, experts;
    auto next = out.begin();
    for (std::int64_t token = tokens.begin; token < tokens.end; ++token) {
        groups.clear();
        for (std::int64_t group = 0; group < limits_.num_groups; ++group)
            groups.push_back({weighted_key(uniform_of(group_key, token, limits_.num_groups, group),
                                           group_weights[static_cast<std::size_t>(group)]),
                              group});
        keep_smallest(groups, limits_.groups_kept);
        experts.clear();
        for (const Candidate& group : groups) {
            const Range of_group = limits_.experts_of(group.item);
            for (std::int64_t expert = of_group.begin; expert < of_group.end; ++expert)
                experts.push_back({weighted_key(uniform_of(expert_key, token, limits_.num_experts, expert),
                                                weight_of(expert)),
                                   expert});
        }
        keep_smallest(experts, limits_.top_k);
        const auto first = next;
        for (const Candidate& expert : experts) *next++ = static_cast<std::int32_t>(expert.item);
        std::sort(first, next);
    }
}

}  // namespace eps::workload
