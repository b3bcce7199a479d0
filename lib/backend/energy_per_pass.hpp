// Energy of a pass, from a counter of a device that moves only some ten times a second.
#pragma once

#include <cstdint>

namespace eps::backend {

/// Counts between the first and the last look that found the counter moved: what it lags behind then cancels.
class EnergyPerPass {
  public:
    /// `counter_mj` before the first pass.
    explicit EnergyPerPass(std::uint64_t counter_mj) : last_mj_(counter_mj) {}

    /// `counter_mj` after so many passes.
    void read(std::uint64_t counter_mj, std::int64_t num_passes) {
        if (counter_mj == last_mj_) return;
        last_mj_ = counter_mj;
        last_pass_ = num_passes;
        if (first_pass_ > 0) return;
        first_mj_ = counter_mj;
        first_pass_ = num_passes;
    }

    /// < 0: the counter has not moved twice.
    double joules() const {
        if (last_pass_ == first_pass_) return -1;
        return static_cast<double>(last_mj_ - first_mj_) * 1e-3 /
               static_cast<double>(last_pass_ - first_pass_);
    }

  private:
    std::uint64_t first_mj_ = 0, last_mj_;
    std::int64_t first_pass_ = 0, last_pass_ = 0;  // after which it had moved, from 1
};

}  // namespace eps::backend
