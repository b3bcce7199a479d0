// Plain causal attention: one block a (row, head), scores in shared memory.
#include "kernels/cuda/kernels.hpp"
#include "kernels/cuda/vector.cuh"

namespace eps::kernels::device {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / 32;

struct Heads {
    int num_heads, nope_dim, rope_dim, v_dim;
    float scale;
};

template <typename Combine>
__device__ float over_block(float value, float* of_warp, Combine combine) {
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2)
        value = combine(value, __shfl_xor_sync(0xffffffffU, value, offset));
    if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = value;
    __syncthreads();
    float result = of_warp[0];
    for (int w = 1; w < kWarps; ++w) result = combine(result, of_warp[w]);
    __syncthreads();
    return result;
}

template <typename T>
__global__ void attention_kernel(View<T> q, View<T> kv, View<T> k_rope, const std::int64_t* starts,
                                 std::int64_t num_sequences, Heads heads, View<T> out) {
    extern __shared__ float scores[];
    __shared__ float of_warp[kWarps];
    const std::int64_t row = blockIdx.x;
    const int head = static_cast<int>(blockIdx.y);
    std::int64_t sequence = 0;
    while (sequence + 1 < num_sequences && starts[sequence + 1] <= row) ++sequence;
    const std::int64_t begin = starts[sequence];
    const std::int64_t num_keys = row - begin + 1;
    const T* query = q.row(row) + head * (heads.nope_dim + heads.rope_dim);
    const std::int64_t head_col = std::int64_t{head} * (heads.nope_dim + heads.v_dim);
    const int lane = static_cast<int>(threadIdx.x % 32);

    float largest = -INFINITY;
    for (std::int64_t key = threadIdx.x / 32; key < num_keys; key += kWarps) {
        const T* nope = kv.row(begin + key) + head_col;
        const T* rope = k_rope.row(begin + key);
        float dot = 0;
        for (int i = lane; i < heads.nope_dim; i += 32) dot += to_float(query[i]) * to_float(nope[i]);
        for (int i = lane; i < heads.rope_dim; i += 32)
            dot += to_float(query[heads.nope_dim + i]) * to_float(rope[i]);
#pragma unroll
        for (int offset = 16; offset > 0; offset /= 2) dot += __shfl_xor_sync(0xffffffffU, dot, offset);
        dot *= heads.scale;
        if (lane == 0) scores[key] = dot;
        largest = fmaxf(largest, dot);
    }
    largest = over_block(largest, of_warp, [](float a, float b) { return fmaxf(a, b); });
    float sum = 0;
    for (std::int64_t key = threadIdx.x; key < num_keys; key += kThreads) {
        scores[key] = expf(scores[key] - largest);
        sum += scores[key];
    }
    sum = over_block(sum, of_warp, [](float a, float b) { return a + b; });
    for (std::int64_t key = threadIdx.x; key < num_keys; key += kThreads)
        scores[key] = to_float(rounded<T>(scores[key] / sum));
    __syncthreads();
    for (int col = static_cast<int>(threadIdx.x); col < heads.v_dim; col += kThreads) {
        float total = 0;
        for (std::int64_t key = 0; key < num_keys; ++key)
            total += scores[key] * to_float(kv.row(begin + key)[head_col + heads.nope_dim + col]);
        out.row(row)[std::int64_t{head} * heads.v_dim + col] = rounded<T>(total);
    }
}

}  // namespace

void attention(Stream stream, Rows q, Rows kv, Rows k_rope, const std::int64_t* starts,
               std::int64_t num_sequences, std::int64_t longest, const AttentionArgs& args, Rows out) {
    if (q.num_rows == 0 || args.num_heads == 0) return;
    const Heads heads{.num_heads = static_cast<int>(args.num_heads),
                      .nope_dim = static_cast<int>(args.nope_dim),
                      .rope_dim = static_cast<int>(args.rope_dim),
                      .v_dim = static_cast<int>(args.v_dim),
                      .scale = static_cast<float>(args.scale)};
    const auto bytes = static_cast<int>((longest + 3) / 4 * 16);  // of scores, whole vectors
    with_vectors(
        [&]<typename T, int V>() {
            const cudaError_t error =
                cudaFuncSetAttribute(attention_kernel<T>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
            if (error != cudaSuccess)
                throw Error(Exit::resource, "attention: a sequence of " + std::to_string(longest) +
                                                " tokens is too long for the plain kernel");
            const dim3 grid(static_cast<unsigned>(q.num_rows), static_cast<unsigned>(args.num_heads));
            attention_kernel<T><<<grid, kThreads, static_cast<std::size_t>(bytes), stream>>>(
                view<T>(q), view<T>(kv), view<T>(k_rope), starts, num_sequences, heads, view<T>(out));
        },
        q, kv, k_rope, out);
    check_launch("attention");
}

}  // namespace eps::kernels::device
