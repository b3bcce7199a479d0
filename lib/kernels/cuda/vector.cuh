// Elements of device rows, sixteen bytes at a time where rows allow it, and launches that are checked.
#pragma once

#include "base/error.hpp"
#include "base/rows.hpp"
#include "kernels/cuda/kernels.hpp"

#include <cstdint>
#include <string>

#include <cuda_bf16.h>
#include <cuda_runtime.h>

namespace eps::kernels::device {

template <typename T>
inline constexpr int kVectorLength = 16 / sizeof(T);

template <typename T>
__device__ inline float to_float(T value) {
    return static_cast<float>(value);
}
template <typename T>
__device__ inline T rounded(float value);
template <>
__device__ inline float rounded<float>(float value) {
    return value;
}
template <>
__device__ inline __nv_bfloat16 rounded<__nv_bfloat16>(float value) {
    return __float2bfloat16_rn(value);
}

/// V consecutive elements as they lie in memory; a pair may begin at any element.
template <typename T, int V>
struct alignas((V == 2 ? 1 : V) * sizeof(T)) Vector {
    T values[V];
};

/// V consecutive elements in f32.
template <int V>
struct Floats {
    float values[V];
};

template <typename T, int V>
__device__ inline Floats<V> load(const T* from) {
    const auto raw = *reinterpret_cast<const Vector<T, V>*>(from);
    Floats<V> result;
#pragma unroll
    for (int i = 0; i < V; ++i) result.values[i] = to_float(raw.values[i]);
    return result;
}

template <typename T, int V>
__device__ inline void store(T* to, const Floats<V>& floats) {
    Vector<T, V> raw;
#pragma unroll
    for (int i = 0; i < V; ++i) raw.values[i] = rounded<T>(floats.values[i]);
    *reinterpret_cast<Vector<T, V>*>(to) = raw;
}

/// Rows as a kernel takes them.
template <typename T>
struct View {
    T* data;
    std::int64_t stride;
    __device__ T* row(std::int64_t i) const { return data + i * stride; }
};

template <typename T>
View<T> view(const Rows& rows) {
    return {reinterpret_cast<T*>(rows.data), rows.stride};
}

/// Rows of an output, some of which lie elsewhere.
template <typename T>
struct SplitView {
    View<T> out, apart;
    std::int64_t begin, end;  // rows that lie apart
    __device__ T* row(std::int64_t i) const {
        return i >= begin && i < end ? apart.row(i - begin) : out.row(i);
    }
};

template <typename T>
SplitView<T> view(const Rows& out, const Apart& apart) {
    return {view<T>(out), view<T>(apart.to), apart.rows.begin, apart.rows.end};
}

/// Can every row be read in vectors of sixteen bytes, whole?
inline bool in_vectors(const Rows& rows) {
    const std::int64_t length = 16 / bytes_of(rows.dtype);
    return rows.num_cols % length == 0 && rows.stride % length == 0 &&
           reinterpret_cast<std::uintptr_t>(rows.data) % 16 == 0;
}

/// Calls f.operator()<T, V>() for the dtype; V is 1 unless all rows go in vectors.
template <typename F, typename... R>
void with_vectors(F&& f, const Rows& first, const R&... rest) {
    const bool wide = (in_vectors(first) && ... && in_vectors(rest));
    if (((first.dtype != rest.dtype) || ...))
        throw Error(Exit::internal, "device kernel: rows of two dtypes");
    if (first.dtype == DType::f32) {
        if (wide)
            f.template operator()<float, kVectorLength<float>>();
        else
            f.template operator()<float, 1>();
    } else if (first.dtype == DType::bf16) {
        if (wide)
            f.template operator()<__nv_bfloat16, kVectorLength<__nv_bfloat16>>();
        else
            f.template operator()<__nv_bfloat16, 1>();
    } else {
        throw Error(Exit::internal, "device kernel: rows are f32 or bf16");
    }
}

/// After every launch.
inline void check_launch(const char* kernel) {
    const cudaError_t error = cudaGetLastError();
    if (error != cudaSuccess)
        throw Error(Exit::internal, std::string("launch of ") + kernel + ": " + cudaGetErrorString(error));
}

/// Threads of a block that walks along one row of `num_cols` elements, V at a time: a multiple of 32.
inline int threads_for_row(std::int64_t num_cols, int vector_length) {
    const std::int64_t vectors = (num_cols + vector_length - 1) / vector_length;
    const std::int64_t warps = (vectors + 31) / 32;
    return static_cast<int>(32 * (warps < 1 ? 1 : warps > 8 ? 8 : warps));
}

inline dim3 grid_of(std::int64_t blocks) {
    if (blocks > 2147483647) throw Error(Exit::internal, "device kernel: too many rows for one launch");
    return dim3(static_cast<unsigned>(blocks));
}

}  // namespace eps::kernels::device
