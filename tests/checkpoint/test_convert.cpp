#include "checkpoint/convert.hpp"
#include "tests/catch.hpp"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

using namespace eps;
using namespace eps::checkpoint;

namespace {

/// By the definition of the format, in double.
double f16_value(unsigned bits) {
    const double sign = (bits & 0x8000U) != 0 ? -1 : 1;
    const int exponent = static_cast<int>((bits >> 10) & 31U);
    const double mantissa = bits & 1023U;
    return sign * (exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25));
}

}  // namespace

TEST_CASE("every f16 becomes the f32 of the same value") {
    int num_compared = 0;
    for (unsigned bits = 0; bits < 65536; ++bits) {
        const float value = f16_to_f32(static_cast<std::uint16_t>(bits));
        const bool is_special = ((bits >> 10) & 31U) == 31;
        const bool is_nan = is_special && (bits & 1023U) != 0;
        bool is_right = std::isnan(value) == is_nan && std::signbit(value) == ((bits & 0x8000U) != 0);
        if (is_special && !is_nan) is_right = is_right && std::isinf(value);
        if (!is_special) is_right = is_right && static_cast<double>(value) == f16_value(bits);
        num_compared += is_right ? 1 : 0;
    }
    CHECK(num_compared == 65536);
}

TEST_CASE("all pairs of dtypes, any alignment, any length") {
    for (const std::size_t count : {0U, 1U, 5U, 1023U, 1024U, 1025U, 3000U}) {
        std::vector<float> values(count);
        for (std::size_t i = 0; i < count; ++i) values[i] = std::sin(static_cast<float>(i)) * 3;
        std::vector<std::byte> f32(count * 4 + 1), bf16(count * 2 + 1), f16(count * 2 + 1);
        for (std::size_t i = 0; i < count; ++i) {
            const Bf16 narrow(values[i]);
            const auto half = static_cast<std::uint16_t>(0x3000 + i % 0x1000);
            std::memcpy(f32.data() + 1 + 4 * i, &values[i], 4);
            std::memcpy(bf16.data() + 1 + 2 * i, &narrow, 2);
            std::memcpy(f16.data() + 1 + 2 * i, &half, 2);
        }
        std::vector<float> wide(count);
        std::vector<Bf16> narrow(count);
        auto* const to_f32 = reinterpret_cast<std::byte*>(wide.data());
        auto* const to_bf16 = reinterpret_cast<std::byte*>(narrow.data());
        const auto n = static_cast<std::int64_t>(count);
        const auto all = [&](auto&& is_right) {
            for (std::size_t i = 0; i < count; ++i)
                if (!is_right(i)) return false;
            return true;
        };
        convert_values(f32.data() + 1, DType::f32, to_f32, DType::f32, n);
        CHECK(wide == values);
        convert_values(f32.data() + 1, DType::f32, to_bf16, DType::bf16, n);
        CHECK(all([&](std::size_t i) { return narrow[i].bits == Bf16(values[i]).bits; }));
        convert_values(bf16.data() + 1, DType::bf16, to_f32, DType::f32, n);
        CHECK(all([&](std::size_t i) { return wide[i] == static_cast<float>(Bf16(values[i])); }));
        narrow.assign(count, Bf16());
        convert_values(bf16.data() + 1, DType::bf16, to_bf16, DType::bf16, n);
        CHECK(all([&](std::size_t i) { return narrow[i].bits == Bf16(values[i]).bits; }));
        const auto half_at = [](std::size_t i) {
            return f16_to_f32(static_cast<std::uint16_t>(0x3000 + i % 0x1000));
        };
        convert_values(f16.data() + 1, DType::f16, to_f32, DType::f32, n);
        CHECK(all([&](std::size_t i) { return wide[i] == half_at(i); }));
        convert_values(f16.data() + 1, DType::f16, to_bf16, DType::bf16, n);
        CHECK(all([&](std::size_t i) { return narrow[i].bits == Bf16(half_at(i)).bits; }));
    }
}

TEST_CASE("NaN stays NaN") {
    const float nan = std::numeric_limits<float>::quiet_NaN();
    Bf16 narrow;
    convert_values(reinterpret_cast<const std::byte*>(&nan), DType::f32,
                   reinterpret_cast<std::byte*>(&narrow), DType::bf16, 1);
    CHECK(std::isnan(static_cast<float>(narrow)));
}

TEST_CASE("dtypes that weights may have") {
    CHECK(float_dtype("F32") == DType::f32);
    CHECK(float_dtype("BF16") == DType::bf16);
    CHECK(float_dtype("F16") == DType::f16);
    for (const char* other : {"F64", "F8_E4M3", "I64", "I32", "U8", "", "f32"})
        CHECK_FALSE(float_dtype(other));
}
