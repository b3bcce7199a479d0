// One body, several instruction sets: a lambda is compiled for each and the best that the machine has runs.
// The bodies are plain loops under `#pragma omp simd`; no -march, no -ffast-math. Bits may differ between
// instruction sets (fused multiply-add, lanes of a sum), so the ranks of a run belong on one type of machine.
#pragma once

#include "base/rows.hpp"

#include <atomic>
#include <bit>
#include <cstdint>

#define EPS_INLINE __attribute__((always_inline))
#define EPS_TARGET_AVX512    \
    __attribute__((noinline, \
                   target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi2,prefer-vector-width=512")))
#define EPS_TARGET_AVX2 __attribute__((noinline, target("avx2,fma,bmi2")))
#define EPS_TARGET_BASELINE __attribute__((noinline))

namespace eps::kernels {

enum class Isa : std::uint8_t { baseline, avx2, avx512, avx512_bf16 };

/// Best instruction set of this machine, not above the limit.
Isa active_isa();

/// Keeps kernels from using more than `limit` (for tests of the code for older machines).
void limit_isa(Isa limit);

template <typename F>
EPS_TARGET_AVX512 void run_avx512(const F f) {
    f();
}
template <typename F>
EPS_TARGET_AVX2 void run_avx2(const F f) {
    f();
}
template <typename F>
EPS_TARGET_BASELINE void run_baseline(const F f) {
    f();
}

/// Runs `f`, a lambda marked EPS_INLINE that captures by value and calls only functions marked EPS_INLINE.
template <typename F>
void vectorised(const F& f) {
    switch (active_isa()) {
        case Isa::avx512_bf16:
        case Isa::avx512:
            run_avx512(f);
            return;
        case Isa::avx2:
            run_avx2(f);
            return;
        case Isa::baseline:
            run_baseline(f);
            return;
    }
}

/// e^x to 1.2e-7 relative over the whole range, denormal results included; inf above 88.73, 0 below -104, NaN
/// stays. x = n ln2 + r, |r| <= ln2/2; e^r by its Taylor series up to r^7 (rest below 6e-9); 2^n in two
/// factors.
EPS_INLINE inline float exp_f32(float x) {
    constexpr float kLog2E = 1.44269504F;
    constexpr float kLn2High = 0.693359375F;  // 9 bits: n times it is exact
    constexpr float kLn2Low = -2.12194440e-4F;
    constexpr float kRound = 12582912.0F;  // 1.5 * 2^23: adding it rounds to an integer in the low bits
    x = x < -104.0F ? -104.0F : x;
    x = x > 89.0F ? 89.0F : x;
    const float shifted = x * kLog2E + kRound;
    const std::int32_t n = static_cast<std::int32_t>(std::bit_cast<std::uint32_t>(shifted) - 0x4b400000U);
    const float whole = shifted - kRound;
    const float r = (x - whole * kLn2High) - whole * kLn2Low;
    float p = 1.0F / 5040;
    p = p * r + 1.0F / 720;
    p = p * r + 1.0F / 120;
    p = p * r + 1.0F / 24;
    p = p * r + 1.0F / 6;
    p = p * r + 0.5F;
    p = p * r + 1.0F;
    p = p * r + 1.0F;
    const std::int32_t half = n >> 1;
    const auto first = std::bit_cast<float>(static_cast<std::uint32_t>(half + 127) << 23);
    const auto second = std::bit_cast<float>(static_cast<std::uint32_t>(n - half + 127) << 23);
    return p * first * second;
}

/// silu(x) = x / (1 + e^-x).
EPS_INLINE inline float silu(float x) {
    return x / (1.0F + exp_f32(-x));
}

EPS_INLINE inline float load(const float* p) {
    return *p;
}
EPS_INLINE inline float load(const Bf16* p) {
    return std::bit_cast<float>(static_cast<std::uint32_t>(p->bits) << 16);
}
EPS_INLINE inline void store(float* p, float value) {
    *p = value;
}
/// `value` with the lower half of its bits rounded away, like Bf16's constructor; always inlined, so that it
/// is compiled for the caller's instruction set.
EPS_INLINE inline std::uint32_t rounded_bits(float value) {
    const auto u = std::bit_cast<std::uint32_t>(value);
    return value != value ? (u | 0x400000U) : (u + 0x7fffU + ((u >> 16) & 1U));
}
EPS_INLINE inline void store(Bf16* p, float value) {
    p->bits = static_cast<std::uint16_t>(rounded_bits(value) >> 16);
}
/// The float that a T would hold.
template <typename T>
EPS_INLINE inline float rounded(float value) {
    if constexpr (sizeof(T) == sizeof(float))
        return value;
    else
        return std::bit_cast<float>(rounded_bits(value) & 0xffff0000U);
}

}  // namespace eps::kernels
