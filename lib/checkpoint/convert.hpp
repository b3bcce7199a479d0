// Stored floats of a file to f32 or bf16 in memory.
#pragma once

#include "base/dtype.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace eps::checkpoint {

/// f32, bf16 or f16 for "F32", "BF16" and "F16"; nothing for other dtypes of safetensors.
std::optional<DType> float_dtype(std::string_view safetensors_dtype);

/// Exact: every f16 is an f32.
float f16_to_f32(std::uint16_t bits);

/// Converts `count` values at `from` (f32, bf16 or f16, any alignment) to `to` (f32 or bf16, aligned), to
/// nearest even.
void convert_values(const std::byte* from, DType from_dtype, std::byte* to, DType to_dtype,
                    std::int64_t count);

}  // namespace eps::checkpoint
