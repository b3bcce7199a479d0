// Rows that own their elements, and the comparisons of the kernel tests.
#pragma once

#include "base/random.hpp"
#include "kernels/element.hpp"
#include "kernels/kernels.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <initializer_list>
#include <string>
#include <vector>

#include <fmt/format.h>

namespace eps::kernels {

inline const Kernels& twin = reference_kernels();

class Matrix {
  public:
    /// Zeros. `gap` elements lie between rows; nobody may write there.
    Matrix(DType dtype, std::int64_t num_rows, std::int64_t num_cols, std::int64_t gap = 0)
        : storage_(static_cast<std::size_t>(num_rows * (num_cols + gap) * bytes_of(dtype) + 64)),
          rows_{storage_.data(), dtype, num_rows, num_cols, num_cols + gap} {}

    static Matrix normal(DType dtype, std::int64_t num_rows, std::int64_t num_cols, std::uint64_t key,
                         std::int64_t gap = 0, float scale = 1) {
        Matrix m(dtype, num_rows, num_cols, gap);
        std::uint64_t i = 0;
        for (std::int64_t r = 0; r < num_rows; ++r) {
            for (std::int64_t c = 0; c < num_cols; ++c) set(m.rows_, r, c, scale * random_normal(key, i++));
        }
        return m;
    }

    static Matrix of(DType dtype, std::int64_t num_cols, std::initializer_list<float> values) {
        Matrix m(dtype, static_cast<std::int64_t>(values.size()) / num_cols, num_cols);
        std::int64_t i = 0;
        for (const float v : values) {
            set(m.rows_, i / num_cols, i % num_cols, v);
            ++i;
        }
        return m;
    }

    Matrix(Matrix&& other) noexcept : storage_(std::move(other.storage_)), rows_(other.rows_) {
        rows_.data = storage_.data();
    }
    Matrix(const Matrix& other) : storage_(other.storage_), rows_(other.rows_) {
        rows_.data = storage_.data();
    }
    Matrix& operator=(const Matrix&) = delete;

    operator Rows() const { return rows_; }
    Rows rows() const { return rows_; }
    float at(std::int64_t row, std::int64_t col) const { return get(rows_, row, col); }
    /// Everything, the gaps and the end included.
    const std::vector<std::byte>& storage() const { return storage_; }

  private:
    mutable std::vector<std::byte> storage_;
    Rows rows_;
};

inline bool same_bits(Rows a, Rows b) {
    if (a.num_rows != b.num_rows || a.num_cols != b.num_cols || a.dtype != b.dtype) return false;
    const auto row_bytes = static_cast<std::size_t>(a.num_cols * bytes_of(a.dtype));
    for (std::int64_t r = 0; r < a.num_rows; ++r) {
        if (std::memcmp(a.row<std::byte>(0) + r * a.stride * bytes_of(a.dtype),
                        b.row<std::byte>(0) + r * b.stride * bytes_of(b.dtype), row_bytes) != 0) {
            return false;
        }
    }
    return true;
}

/// Largest |a - b| beyond `ulps` roundings of the dtype, over the largest |b|; infinity where either is not
/// finite.
inline double excess_error(Rows a, Rows b, double ulps) {
    const double ulp = b.dtype == DType::bf16 ? 0x1p-7 : 0x1p-22;
    double worst = 0;
    double largest = 1e-30;
    for (std::int64_t r = 0; r < b.num_rows; ++r) {
        for (std::int64_t c = 0; c < b.num_cols; ++c) {
            const double x = get(a, r, c);
            const double y = get(b, r, c);
            if (!std::isfinite(x) || !std::isfinite(y)) return INFINITY;
            worst = std::max(worst, std::abs(x - y) - ulps * ulp * std::abs(y));
            largest = std::max(largest, std::abs(y));
        }
    }
    return worst / largest;
}

}  // namespace eps::kernels
