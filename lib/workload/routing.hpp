// Which experts tokens go to: the gate's own choice, or ids forced on it.
// Forced ids are a pure function of (seed, layer, global token): the same for any number of ranks and any
// placement.
#pragma once

#include "base/range.hpp"
#include "model/spec.hpp"

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <variant>
#include <vector>

namespace eps::workload {

struct GateRouting {};

/// Every set of experts that the gate may choose is equally likely.
struct UniformRouting {};

/// Expert of popularity rank r (from 1; ranks are a random permutation per layer) has weight r^-exponent; a
/// token draws its groups by their sums of weights, then its experts in them by weight, both without
/// replacement.
struct ZipfRouting {
    double exponent = 1;
};

/// Experts [first, end) get `share` of the (token, slot) pairs: each token takes one of the two possible
/// numbers of hot experts nearest to share * top_k, mixed so that the mean is exact; its groups are drawn
/// uniformly from the sets that allow that number, its hot and its other experts uniformly from them.
struct HotRouting {
    std::int64_t first_expert = 0, end_expert = 1;
    double share = 0.5;
};

/// A safetensors file with layers.{i}.topk_ids [tokens, top_k] int64 for each MoE layer.
struct FileRouting {
    std::string path;
};

using Routing = std::variant<GateRouting, UniformRouting, ZipfRouting, HotRouting, FileRouting>;

/// "gate", "uniform", "zipf", "hot" or "file".
std::string kind_of(const Routing& routing);

class ForcedRouting {
  public:
    virtual ~ForcedRouting() = default;
    /// Experts of the global tokens `tokens` at the MoE layer `layer`: out[(token - tokens.begin) * top_k +
    /// slot]; distinct, ascending, in at most topk_group of the n_group groups.
    virtual void write_ids(std::int64_t layer, Range tokens, std::span<std::int32_t> out) const = 0;
};

/// nullptr for GateRouting. `layers` are the MoE layers that will be asked for, `num_tokens` the whole
/// batch's. Throws Error(usage) for a share that no choice of experts reaches, Error(data), from here or from
/// write_ids(), for a file that does not hold what it should.
std::unique_ptr<ForcedRouting> make_forced_routing(const Routing& routing, const model::ModelSpec& spec,
                                                   std::uint64_t seed,
                                                   const std::vector<std::int64_t>& layers,
                                                   std::int64_t num_tokens);

/// The smallest and the largest share of the (token, slot) pairs that experts [first, end) can get within the
/// gate's limits (distinct experts, topk_group of n_group groups).
struct ShareLimits {
    double lowest = 0;
    double highest = 1;
};
ShareLimits hot_share_limits(Range hot_experts, const model::ModelSpec& spec);

}  // namespace eps::workload
