// Element types, and bfloat16 for host code.
#pragma once

#include "base/error.hpp"

#include <bit>
#include <cstdint>
#include <string_view>

namespace eps {

enum class DType : std::uint8_t { f32, bf16, f16, i32, i64 };

constexpr std::int64_t bytes_of(DType dtype) {
    switch (dtype) {
        case DType::f32:
            return 4;
        case DType::bf16:
            return 2;
        case DType::f16:
            return 2;
        case DType::i32:
            return 4;
        case DType::i64:
            return 8;
    }
    throw Error(Exit::internal, "unknown dtype");
}

constexpr std::string_view name_of(DType dtype) {
    switch (dtype) {
        case DType::f32:
            return "f32";
        case DType::bf16:
            return "bf16";
        case DType::f16:
            return "f16";
        case DType::i32:
            return "i32";
        case DType::i64:
            return "i64";
    }
    throw Error(Exit::internal, "unknown dtype");
}

/// The upper half of an IEEE float; conversion from float rounds to nearest, ties to even, and keeps NaN.
struct Bf16 {
    std::uint16_t bits = 0;

    Bf16() = default;
    explicit Bf16(float value) {
        const auto u = std::bit_cast<std::uint32_t>(value);
        const bool nan = (u & 0x7fffffffU) > 0x7f800000U;
        const std::uint32_t rounded = nan ? (u | 0x400000U) : (u + 0x7fffU + ((u >> 16) & 1U));
        bits = static_cast<std::uint16_t>(rounded >> 16);
    }
    operator float() const { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }
};
static_assert(sizeof(Bf16) == 2);

/// Rounds `value` to `dtype` (f32 or bf16) and back.
inline float rounded_to(DType dtype, float value) {
    return dtype == DType::bf16 ? static_cast<float>(Bf16(value)) : value;
}

}  // namespace eps
