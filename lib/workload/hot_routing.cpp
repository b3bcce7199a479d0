#include "workload/hot_routing.hpp"

#include "base/error.hpp"
#include "base/random.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include <fmt/core.h>

namespace eps::workload {
namespace {

double log_binomial(std::int64_t n, std::int64_t k) {
    const auto log_factorial = [](std::int64_t m) { return std::lgamma(static_cast<double>(m) + 1); };
    return log_factorial(n) - log_factorial(k) - log_factorial(n - k);
}

// Each token has a stream of its own: these many numbers, then one per group, then one per expert.
constexpr std::int64_t kNumPerToken = 2;

double uniform_of(std::uint64_t key, std::int64_t item) {
    return random_uniform(key, static_cast<std::uint64_t>(item));
}

std::int64_t size_of(const std::vector<std::int64_t>& items) {
    return static_cast<std::int64_t>(items.size());
}

}  // namespace

GroupMixes::GroupMixes(const GateLimits& limits, Range hot_experts) : limits_(limits) {
    std::map<std::int64_t, std::vector<std::int64_t>> groups_by_num_hot;
    for (std::int64_t group = 0; group < limits.num_groups; ++group) {
        const Range experts = limits.experts_of(group);
        const Range hot{std::max(experts.begin, hot_experts.begin), std::min(experts.end, hot_experts.end)};
        groups_by_num_hot[hot.empty() ? 0 : hot.size()].push_back(group);
    }
    for (const auto& [num_hot, groups] : groups_by_num_hot) {
        hot_per_group_.push_back(num_hot);
        classes_.push_back(groups);
    }
    extend({}, limits.groups_kept);
}

void GroupMixes::extend(GroupMix mix, std::int64_t num_left) {
    const std::size_t class_idx = mix.num_kept.size();
    if (class_idx == classes_.size()) {
        if (num_left == 0) mixes_.push_back(std::move(mix));
        return;
    }
    const std::int64_t num_groups = size_of(classes_[class_idx]);
    for (std::int64_t num_kept = 0; num_kept <= std::min(num_groups, num_left); ++num_kept) {
        GroupMix longer = mix;
        longer.num_kept.push_back(num_kept);
        longer.num_hot += num_kept * hot_per_group_[class_idx];
        longer.log_ways += log_binomial(num_groups, num_kept);
        extend(std::move(longer), num_left - num_kept);
    }
}

std::vector<GroupMix> GroupMixes::allowing(std::int64_t num_hot) const {
    const std::int64_t num_experts = limits_.groups_kept * limits_.group_size();
    const std::int64_t num_others = limits_.top_k - num_hot;
    std::vector<GroupMix> mixes;
    for (const GroupMix& mix : mixes_)
        if (num_hot <= mix.num_hot && num_others <= num_experts - mix.num_hot) mixes.push_back(mix);
    return mixes;
}

std::vector<std::int64_t> GroupMixes::possible_num_hot() const {
    const std::int64_t num_unused = limits_.groups_kept * limits_.group_size() - limits_.top_k;
    std::set<std::int64_t> possible;
    for (const GroupMix& mix : mixes_)
        for (std::int64_t n = std::max<std::int64_t>(0, mix.num_hot - num_unused);
             n <= std::min(mix.num_hot, limits_.top_k); ++n)
            possible.insert(n);
    return {possible.begin(), possible.end()};
}

ShareLimits hot_share_limits(Range hot_experts, const model::ModelSpec& spec) {
    const GateLimits limits(spec);
    const std::vector<std::int64_t> possible = GroupMixes(limits, hot_experts).possible_num_hot();
    const auto top_k = static_cast<double>(limits.top_k);
    return {static_cast<double>(possible.front()) / top_k, static_cast<double>(possible.back()) / top_k};
}

HotExpertsRouting::HotExpertsRouting(const model::ModelSpec& spec, std::uint64_t seed,
                                     const HotRouting& routing)
    : limits_(spec),
      seed_(seed),
      hot_{routing.first_expert, routing.end_expert},
      group_mixes_(limits_, hot_) {
    const ShareLimits limits = hot_share_limits(hot_, spec);
    if (!(routing.share >= limits.lowest && routing.share <= limits.highest))
        throw Error(Exit::usage,
                    fmt::format("hot routing: experts [{}, {}) can get a share from {} to {}, not {}",
                                hot_.begin, hot_.end, limits.lowest, limits.highest, routing.share));
    const double mean = routing.share * static_cast<double>(limits_.top_k);
    const std::vector<std::int64_t> possible = group_mixes_.possible_num_hot();
    // The last possible number that is not above the mean; rounding may put the mean a hair below the first.
    auto below = std::find_if(possible.rbegin(), possible.rend(),
                              [&](std::int64_t n) { return static_cast<double>(n) <= mean; });
    const std::int64_t fewer = below == possible.rend() ? possible.front() : *below;
    const std::int64_t more =
        below == possible.rend() || below == possible.rbegin() ? fewer : *std::prev(below);
    fewer_ = outcome_of(fewer);
    more_ = outcome_of(more);
    if (more > fewer)
        more_probability_ = (mean - static_cast<double>(fewer)) / static_cast<double>(more - fewer);
}

HotExpertsRouting::Outcome HotExpertsRouting::outcome_of(std::int64_t num_hot) const {
    Outcome outcome{num_hot, group_mixes_.allowing(num_hot), {}};
    double most = outcome.mixes.front().log_ways;
    for (const GroupMix& mix : outcome.mixes) most = std::max(most, mix.log_ways);
    double sum = 0;
    for (const GroupMix& mix : outcome.mixes)
        outcome.cumulative.push_back(sum += std::exp(mix.log_ways - most));
    for (double& probability : outcome.cumulative) probability /= sum;
    return outcome;
}

void HotExpertsRouting::draw_candidates(const GroupMix& mix, std::uint64_t key, std::vector<Candidate>& hot,
                                        std::vector<Candidate>& others) const {
    hot.clear();
    others.clear();
    std::vector<Candidate> groups;
    for (std::size_t class_idx = 0; class_idx < mix.num_kept.size(); ++class_idx) {
        groups.clear();
        for (const std::int64_t group : group_mixes_.classes()[class_idx])
            groups.push_back({uniform_of(key, kNumPerToken + group), group});
        keep_smallest(groups, mix.num_kept[class_idx]);
        for (const Candidate& group : groups) {
            const Range experts = limits_.experts_of(group.item);
            for (std::int64_t expert = experts.begin; expert < experts.end; ++expert)
                (hot_.contains(expert) ? hot : others)
                    .push_back({uniform_of(key, kNumPerToken + limits_.num_groups + expert), expert});
        }
    }
}

void HotExpertsRouting::write_ids(std::int64_t layer, Range tokens, std::span<std::int32_t> out) const {
    const std::uint64_t layer_key = stream_key(seed_, fmt::format("routing.layers.{}.hot", layer));
    std::vector<Candidate> hot, others;
    auto next = out.begin();
    for (std::int64_t token = tokens.begin; token < tokens.end; ++token) {
        const std::uint64_t key = random_bits(layer_key, static_cast<std::uint64_t>(token));
        const Outcome& outcome = uniform_of(key, 0) < more_probability_ ? more_ : fewer_;
        const auto mix_idx =
            std::upper_bound(outcome.cumulative.begin(), outcome.cumulative.end() - 1, uniform_of(key, 1)) -
            outcome.cumulative.begin();
        draw_candidates(outcome.mixes[static_cast<std::size_t>(mix_idx)], key, hot, others);
        keep_smallest(hot, outcome.num_hot);
        keep_smallest(others, limits_.top_k - outcome.num_hot);
        const auto first = next;
        for (const Candidate& expert : hot) *next++ = static_cast<std::int32_t>(expert.item);
        for (const Candidate& expert : others) *next++ = static_cast<std::int32_t>(expert.item);
        std::sort(first, next);
    }
}

}  // namespace eps::workload
