// Which instruction set the kernels use.
#include "kernels/cpu/simd.hpp"

#include <algorithm>

namespace eps::kernels {
namespace {

Isa best_isa() {
    __builtin_cpu_init();
    const bool avx2 =
        __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (avx512 && __builtin_cpu_supports("avx512bf16")) return Isa::avx512_bf16;
    if (avx512) return Isa::avx512;
    return avx2 ? Isa::avx2 : Isa::baseline;
}

std::atomic<Isa> isa_limit{Isa::avx512_bf16};

}  // namespace

Isa active_isa() {
    static const Isa best = best_isa();
    return std::min(best, isa_limit.load(std::memory_order_relaxed));
}

void limit_isa(Isa limit) {
    isa_limit = limit;
}

}  // namespace eps::kernels
