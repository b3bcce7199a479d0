// RMSNorm: one block a row. The sum of squares is taken by threads in strides, then over the warp and the
// warps in a fixed tree.
#include "kernels/cuda/kernels.hpp"
#include "kernels/cuda/vector.cuh"

namespace eps::kernels::device {
namespace {

__device__ float sum_of_warp(float value) {
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2) value += __shfl_xor_sync(0xffffffffU, value, offset);
    return value;
}

__device__ float sum_of_block(float value) {
    __shared__ float of_warp[32];
    value = sum_of_warp(value);
    if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = value;
    __syncthreads();
    const unsigned lane = threadIdx.x % 32;
    return sum_of_warp(lane < blockDim.x / 32 ? of_warp[lane] : 0);
}

// kHeld vectors of a row stay in registers between the two sweeps; what is beyond is read again.
constexpr int kHeld = 4;

template <typename T, int V>
__global__ void rms_norm_kernel(View<T> in, const T* weight, float eps, std::int64_t width, View<T> out) {
    const T* from = in.row(blockIdx.x);
    T* to = out.row(blockIdx.x);
    const std::int64_t step = std::int64_t{blockDim.x} * V;
    const std::int64_t first = threadIdx.x * V;
    Floats<V> held[kHeld];
    float squares = 0;
#pragma unroll
    for (int n = 0; n < kHeld; ++n) {
        const std::int64_t col = first + n * step;
        if (col >= width) break;
        held[n] = load<T, V>(from + col);
#pragma unroll
        for (int i = 0; i < V; ++i) squares += held[n].values[i] * held[n].values[i];
    }
    for (std::int64_t col = first + kHeld * step; col < width; col += step) {
        const Floats<V> x = load<T, V>(from + col);
#pragma unroll
        for (int i = 0; i < V; ++i) squares += x.values[i] * x.values[i];
    }
    const float factor = 1 / sqrtf(sum_of_block(squares) / static_cast<float>(width) + eps);
    const auto finish = [&](Floats<V> x, std::int64_t col) {
        const Floats<V> w = load<T, V>(weight + col);
#pragma unroll
        for (int i = 0; i < V; ++i) x.values[i] = w.values[i] * to_float(rounded<T>(x.values[i] * factor));
        store<T, V>(to + col, x);
    };
#pragma unroll
    for (int n = 0; n < kHeld; ++n) {
        const std::int64_t col = first + n * step;
        if (col < width) finish(held[n], col);
    }
    for (std::int64_t col = first + kHeld * step; col < width; col += step)
        finish(load<T, V>(from + col), col);
}

}  // namespace

void rms_norm(Stream stream, Rows in, Rows weight, double eps, Rows out) {
    if (out.num_rows == 0) return;
    with_vectors(
        [&]<typename T, int V>() {
            const int threads = threads_for_row(out.num_cols, kHeld * V);
            rms_norm_kernel<T, V><<<grid_of(out.num_rows), threads, 0, stream>>>(
                view<T>(in), view<T>(weight).data, static_cast<float>(eps), out.num_cols, view<T>(out));
        },
        in, weight, out);
    check_launch("rms_norm");
}

}  // namespace eps::kernels::device
