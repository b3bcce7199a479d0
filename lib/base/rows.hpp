// A view of row-major rows whose element type is known at run time: what kernels and checks work on.
#pragma once

#include "base/dtype.hpp"

#include <cstddef>
#include <cstdint>

namespace eps {

/// `num_rows` rows of `num_cols` elements; consecutive rows lie `stride` elements apart (stride >= num_cols).
/// Owns nothing.
struct Rows {
    std::byte* data = nullptr;
    DType dtype = DType::f32;
    std::int64_t num_rows = 0;
    std::int64_t num_cols = 0;
    std::int64_t stride = 0;

    template <typename T>
    T* row(std::int64_t row_idx) const {
        return reinterpret_cast<T*>(data) + row_idx * stride;
    }

    /// Rows [begin, end) as a view of their own.
    Rows slice(std::int64_t begin, std::int64_t end) const {
        return {data + begin * stride * bytes_of(dtype), dtype, end - begin, num_cols, stride};
    }

    /// Columns [begin, begin + count) as a view of their own.
    Rows columns(std::int64_t begin, std::int64_t count) const {
        return {data + begin * bytes_of(dtype), dtype, num_rows, count, stride};
    }
};

/// Calls `f.template operator()<float>()` or `<Bf16>()` by dtype.
template <typename F>
decltype(auto) with_float_type(DType dtype, F&& f) {
    if (dtype == DType::f32) return f.template operator()<float>();
    if (dtype == DType::bf16) return f.template operator()<Bf16>();
    throw Error(Exit::internal, "a floating dtype of activations is f32 or bf16");
}

}  // namespace eps
