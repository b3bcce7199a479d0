// Forced routing by popularity; exponent 0 is uniform.
#pragma once

#include "workload/expert_draw.hpp"
#include "workload/routing.hpp"

namespace eps::workload {

class PopularityRouting : public ForcedRouting {
  public:
    PopularityRouting(const model::ModelSpec& spec, std::uint64_t seed, double exponent);
    void write_ids(std::int64_t layer, Range tokens, std::span<std::int32_t> out) const override;

  private:
    std::vector<double> expert_weights(std::int64_t layer) const;

    GateLimits limits_;
    std::uint64_t seed_;
    double exponent_;
};

}  // namespace eps::workload
