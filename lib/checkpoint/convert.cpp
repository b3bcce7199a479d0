#include "checkpoint/convert.hpp"

#include "base/rows.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

namespace eps::checkpoint {
namespace {

/// Values are copied to aligned storage block by block: files align to nothing.
constexpr std::int64_t kConvertedAtOnce = 1024;

struct F16 {
    std::uint16_t bits;
    operator float() const { return f16_to_f32(bits); }
};

template <typename From, typename To>
void convert_block(const std::byte* from, To* to, std::int64_t count) {
    std::array<From, kConvertedAtOnce> block;
    std::memcpy(block.data(), from, static_cast<std::size_t>(count) * sizeof(From));
    for (std::int64_t i = 0; i < count; ++i)
        to[i] = static_cast<To>(static_cast<float>(block[static_cast<std::size_t>(i)]));
}

template <typename From, typename To>
void convert_as(const std::byte* from, To* to, std::int64_t count) {
    for (std::int64_t at = 0; at < count; at += kConvertedAtOnce)
        convert_block<From>(from + at * std::int64_t{sizeof(From)}, to + at,
                            std::min(kConvertedAtOnce, count - at));
}

}  // namespace

std::optional<DType> float_dtype(std::string_view safetensors_dtype) {
    if (safetensors_dtype == "F32") return DType::f32;
    if (safetensors_dtype == "BF16") return DType::bf16;
    if (safetensors_dtype == "F16") return DType::f16;
    return std::nullopt;
}

float f16_to_f32(std::uint16_t bits) {
    const std::uint32_t sign = (bits & 0x8000U) << 16;
    const std::uint32_t exponent = (bits >> 10) & 0x1fU;
    const std::uint32_t mantissa = bits & 0x3ffU;
    // Subnormal in f16, exact in f32; then the exponent's bias changes from 15 to 127, and infinity and NaN
    // stay on top.
    const auto tiny = std::bit_cast<std::uint32_t>(static_cast<float>(mantissa) * 0x1p-24F);
    const std::uint32_t wide_exponent = exponent == 0x1fU ? 0xffU : exponent + 112;
    return std::bit_cast<float>(sign | (exponent == 0 ? tiny : wide_exponent << 23 | mantissa << 13));
}

void convert_values(const std::byte* from, DType from_dtype, std::byte* to, DType to_dtype,
                    std::int64_t count) {
    if (count <= 0) return;
    if (from_dtype == to_dtype) {
        std::memcpy(to, from, static_cast<std::size_t>(count * bytes_of(to_dtype)));
        return;
    }
    with_float_type(to_dtype, [&]<typename To>() {
        To* const values = reinterpret_cast<To*>(to);
        switch (from_dtype) {
            case DType::f32:
                return convert_as<float>(from, values, count);
            case DType::bf16:
                return convert_as<Bf16>(from, values, count);
            case DType::f16:
                return convert_as<F16>(from, values, count);
            default:
                throw Error(Exit::internal, "weights are converted from f32, bf16 or f16");
        }
    });
}

}  // namespace eps::checkpoint
