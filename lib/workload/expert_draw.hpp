// Drawing without replacement by counter-based numbers: every candidate gets a key, the smallest keys are
// drawn.
#pragma once

#include "base/range.hpp"
#include "model/spec.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace eps::workload {

/// How the gate may choose: top_k distinct experts in at most `groups_kept` groups of consecutive experts.
struct GateLimits {
    std::int64_t num_experts = 0;
    std::int64_t top_k = 0;
    std::int64_t num_groups = 1;
    std::int64_t groups_kept = 1;

    explicit GateLimits(const model::ModelSpec& spec);
    std::int64_t group_size() const { return num_experts / num_groups; }
    Range experts_of(std::int64_t group) const { return {group * group_size(), (group + 1) * group_size()}; }
};

struct Candidate {
    double key = 0;
    std::int64_t item = 0;
};

/// Leaves in `candidates` the `count` with the smallest keys (ties: the lower item), in that order.
void keep_smallest(std::vector<Candidate>& candidates, std::int64_t count);

/// Key of an item of this weight: drawing by the smallest keys is drawing one after another in proportion to
/// the weights (exponential clocks). `uniform` in [0, 1).
double weighted_key(double uniform, double weight);

}  // namespace eps::workload
