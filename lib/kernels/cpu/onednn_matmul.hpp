// The only door to oneDNN: c [m, n] = a [m, k] w^T (+ bias), all dense, with w packed once for every m.
#pragma once

#include "base/dtype.hpp"

#include <cstdint>
#include <memory>
#include <string>

namespace eps::kernels {

/// "oneDNN 2.6.3"
std::string onednn_version();

/// The dtype in which a GEMM of `dtype` is computed here: bf16 where the machine multiplies bf16 itself, f32
/// otherwise (oneDNN emulates bf16 at a third of the f32 rate on plain AVX-512 and has none on AVX2).
DType gemm_dtype(DType dtype);

/// The kernel that oneDNN chooses for a common shape of `dtype`, such as "brg:avx512_core_bf16".
std::string matmul_implementation(DType dtype);

/// A matrix [n, k] in oneDNN's own layout for (n, k, dtype), which does not depend on m.
class PackedMatrix {
  public:
    virtual ~PackedMatrix() = default;
    virtual std::int64_t bytes() const = 0;
};

std::int64_t packed_matrix_bytes(DType dtype, std::int64_t n, std::int64_t k);
/// `rows` holds [n, k] of `dtype`, dense. n, k > 0.
std::unique_ptr<PackedMatrix> pack_matrix(DType dtype, std::int64_t n, std::int64_t k, const void* rows);

/// What a result depends on, beside the values: equal shapes are equal bits.
struct MatmulShape {
    std::int64_t m = 0;
    std::int64_t n = 0;
    std::int64_t k = 0;
    DType dtype = DType::f32;
    bool has_bias = false;
    int threads = 1;

    friend bool operator==(const MatmulShape&, const MatmulShape&) = default;
};

/// m, n, k > 0; a [m, k] and c [m, n] of shape.dtype, bias [n] f32 (added before the one rounding) or null.
/// Safe from several threads at once. The first call with a shape makes its primitive (about 60 us), later
/// ones find it.
void matmul(const MatmulShape& shape, const void* a, const PackedMatrix& w, const float* bias, void* c);

/// The kernel that oneDNN chooses for `shape` and the packed layout of its weight. "ref..." would be slow.
std::string matmul_implementation(const MatmulShape& shape);

/// Number of primitives made so far: a warm pass makes none.
std::int64_t num_primitives();

}  // namespace eps::kernels
