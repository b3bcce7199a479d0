// Counter-based normals made where they are needed (base/random.hpp, on the device).
#include "kernels/cuda/kernels.hpp"
#include "kernels/cuda/vector.cuh"

namespace eps::kernels::device {
namespace {

__device__ std::uint64_t mix(std::uint64_t x) {
    x += 0x9e3779b97f4a7c15U;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
    return x ^ (x >> 31);
}

__device__ std::uint64_t bits(std::uint64_t key, std::uint64_t index) {
    return mix(key ^ (index * 0xd1342543de82ef95U + 0x632be59bd9b4e019U));
}

__device__ float normal(std::uint64_t key, std::uint64_t index) {
    const std::uint64_t a = bits(key, 2 * index), b = bits(key, 2 * index + 1);
    constexpr std::uint64_t kEven = 0x0000ffff0000ffffU;
    const std::uint64_t pairs = (a & kEven) + ((a >> 16) & kEven) + (b & kEven) + ((b >> 16) & kEven);
    const auto sum = static_cast<std::int32_t>((pairs & 0xffffffffU) + (pairs >> 32));
    return __fmul_rn(static_cast<float>(sum - 262140), 1.86881237e-05F);
}

struct Stream64 {
    std::uint64_t key;
    float mean, deviation;
    std::int64_t tensor_cols, first_row, first_col;
};

template <typename T, int V>
__global__ void fill_kernel(Stream64 from, std::int64_t width, View<T> out) {
    const std::int64_t row = blockIdx.x;
    const std::int64_t first = (from.first_row + row) * from.tensor_cols + from.first_col;
    for (std::int64_t col = threadIdx.x * V; col < width; col += blockDim.x * V) {
        Floats<V> values;
#pragma unroll
        for (int i = 0; i < V; ++i) {
            const float n = normal(from.key, static_cast<std::uint64_t>(first + col + i));
            values.values[i] = __fadd_rn(__fmul_rn(n, from.deviation), from.mean);
        }
        store<T, V>(out.row(row) + col, values);
    }
}

}  // namespace

void fill_normal(Stream stream, std::uint64_t key, float mean, float deviation, std::int64_t tensor_cols,
                 std::int64_t first_row, std::int64_t first_col, Rows out) {
    if (out.num_rows == 0) return;
    const Stream64 from{key, mean, deviation, tensor_cols, first_row, first_col};
    with_vectors(
        [&]<typename T, int V>() {
            fill_kernel<T, V><<<grid_of(out.num_rows), threads_for_row(out.num_cols, V), 0, stream>>>(
                from, out.num_cols, view<T>(out));
        },
        out);
    check_launch("fill_normal");
}

}  // namespace eps::kernels::device
