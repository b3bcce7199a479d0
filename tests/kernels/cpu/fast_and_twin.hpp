// The fast kernels beside their twins, at any instruction set.
#pragma once

#include "kernels/cpu/ops.hpp"
#include "kernels/cpu/simd.hpp"
#include "tests/kernels/matrix.hpp"

#include <vector>

namespace eps::kernels {

inline const Kernels& fast = cpu_kernels();

/// Keeps the fast kernels at an instruction set for the time of a test.
class IsaLimit {
  public:
    explicit IsaLimit(Isa isa) { limit_isa(isa); }
    ~IsaLimit() { limit_isa(Isa::avx512_bf16); }
    IsaLimit(const IsaLimit&) = delete;
    IsaLimit& operator=(const IsaLimit&) = delete;
};

inline const std::vector<Isa>& all_isas() {
    static const std::vector<Isa> isas{Isa::avx512_bf16, Isa::avx512, Isa::avx2, Isa::baseline};
    return isas;
}

}  // namespace eps::kernels
