#include "workload/expert_draw.hpp"

#include <algorithm>
#include <cmath>

namespace eps::workload {

GateLimits::GateLimits(const model::ModelSpec& spec)
    : num_experts(spec.n_routed_experts),
      top_k(spec.num_experts_per_tok),
      num_groups(spec.group_limited ? spec.n_group : 1),
      groups_kept(spec.group_limited ? spec.topk_group : 1) {}

void keep_smallest(std::vector<Candidate>& candidates, std::int64_t count) {
    const auto before = [](const Candidate& a, const Candidate& b) {
        return a.key != b.key ? a.key < b.key : a.item < b.item;
    };
    std::partial_sort(candidates.begin(), candidates.begin() + count, candidates.end(), before);
    candidates.resize(static_cast<std::size_t>(count));
}

double weighted_key(double uniform, double weight) {
    return -std::log1p(-uniform) / weight;
}

}  // namespace eps::workload
