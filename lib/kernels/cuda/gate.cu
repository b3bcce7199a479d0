// The gate: logits by plain multiply-adds, and the choice, one warp a token.
#include "kernels/cuda/kernels.hpp"
#include "kernels/cuda/vector.cuh"

namespace eps::kernels::device {
namespace {

constexpr int kWarpsPerBlock = 4;
constexpr unsigned kAllLanes = 0xffffffffU;

struct Choice {
    int num_experts, top_k, n_group, topk_group;
    bool norm_topk_prob, forced;
    float routed_scaling_factor;
};

__device__ float largest_of_warp(float value) {
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2)
        value = fmaxf(value, __shfl_xor_sync(kAllLanes, value, offset));
    return value;
}

__device__ float sum_of_warp(float value) {
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2) value += __shfl_xor_sync(kAllLanes, value, offset);
    return value;
}

// NaN sorts like minus infinity, as in the twin.
__device__ float key_of(float score) {
    return isnan(score) ? -INFINITY : score;
}

// Scores outside the best groups become 0. Lanes take groups in turn; a group beats another by its best
// expert, ties by the lower number.
__device__ void keep_best_groups(float* scores, float* group_best, const Choice& choice, int lane) {
    const int size = choice.num_experts / choice.n_group;
    for (int g = lane; g < choice.n_group; g += 32) {
        float best = -INFINITY;
        for (int e = 0; e < size; ++e) best = fmaxf(best, key_of(scores[g * size + e]));
        group_best[g] = best;
    }
    __syncwarp();
    for (int e = lane; e < choice.n_group * size; e += 32) {
        const int g = e / size;
        int better = 0;
        for (int other = 0; other < choice.n_group; ++other)
            better += group_best[other] > group_best[g] || (group_best[other] == group_best[g] && other < g);
        if (better >= choice.topk_group) scores[e] = 0;
    }
    __syncwarp();
}

// The best expert not taken yet, the same for all lanes.
__device__ int best_of_warp(const float* keys, int num_experts, int lane) {
    float best = -INFINITY;
    int id = num_experts;
    for (int e = lane; e < num_experts; e += 32)
        if (keys[e] > best || (keys[e] == best && e < id && id == num_experts)) {
            best = keys[e];
            id = e;
        }
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2) {
        const float other = __shfl_xor_sync(kAllLanes, best, offset);
        const int other_id = __shfl_xor_sync(kAllLanes, id, offset);
        if (other > best || (other == best && other_id < id)) {
            best = other;
            id = other_id;
        }
    }
    return id;
}

// Shared memory of a warp: scores [experts], keys [experts], groups' best [experts].
__global__ void choice_kernel(const float* logits, std::int64_t num_rows, Choice choice, std::int32_t* ids,
                              float* weights) {
    extern __shared__ float shared[];
    const int lane = static_cast<int>(threadIdx.x % 32);
    const std::int64_t row = std::int64_t{blockIdx.x} * kWarpsPerBlock + threadIdx.x / 32;
    if (row >= num_rows) return;  // a whole warp
    const int n = choice.num_experts;
    float* scores = shared + static_cast<std::ptrdiff_t>(threadIdx.x / 32) * 3 * n;
    float* keys = scores + n;
    float* group_best = keys + n;

    float largest = -INFINITY;
    for (int e = lane; e < n; e += 32) {
        scores[e] = logits[row * n + e];
        largest = fmaxf(largest, scores[e]);
    }
    largest = largest_of_warp(largest);
    float sum = 0;
    for (int e = lane; e < n; e += 32) {
        scores[e] = expf(scores[e] - largest);
        sum += scores[e];
    }
    sum = sum_of_warp(sum);
    for (int e = lane; e < n; e += 32) scores[e] /= sum;
    __syncwarp();

    std::int32_t* row_ids = ids + row * choice.top_k;
    if (!choice.forced && choice.n_group > 1) keep_best_groups(scores, group_best, choice, lane);
    for (int e = lane; e < n; e += 32) {
        bool wanted = !choice.forced;
        for (int slot = 0; choice.forced && slot < choice.top_k; ++slot)
            wanted = wanted || row_ids[slot] == e;
        // Those not wanted come after all others, even after NaN: they are never reached.
        keys[e] = wanted ? key_of(scores[e]) : -INFINITY;
        if (!wanted)
            group_best[e] = 1;
        else
            group_best[e] = 0;  // from here on: taken or not wanted
    }
    __syncwarp();

    float chosen_sum = 0;
    for (int slot = 0; slot < choice.top_k; ++slot) {
        int id = best_of_warp(keys, n, lane);
        if (id == n || group_best[id] != 0) {  // only scores that are no numbers are left: the lowest number
            id = n;
            for (int e = lane; e < n; e += 32)
                if (group_best[e] == 0 && e < id) id = e;
#pragma unroll
            for (int offset = 16; offset > 0; offset /= 2)
                id = min(id, __shfl_xor_sync(kAllLanes, id, offset));
        }
        __syncwarp();
        if (lane == 0) {
            keys[id] = -INFINITY;
            group_best[id] = 1;
            row_ids[slot] = id;
            weights[row * choice.top_k + slot] = scores[id];
        }
        chosen_sum += scores[id];
        __syncwarp();
    }
    const bool normalise = choice.norm_topk_prob && choice.top_k > 1;
    for (int slot = lane; slot < choice.top_k; slot += 32) {
        float& weight = weights[row * choice.top_k + slot];
        weight = normalise ? weight / (chosen_sum + 1e-20F) : weight * choice.routed_scaling_factor;
    }
}

// One warp an element of the logits.
template <typename T, int V>
__global__ void logits_kernel(View<T> in, View<T> weight, std::int64_t width, std::int64_t num_experts,
                              float* logits) {
    const std::int64_t row = blockIdx.x;
    const int lane = static_cast<int>(threadIdx.x % 32);
    for (std::int64_t e = threadIdx.x / 32; e < num_experts; e += blockDim.x / 32) {
        float sum = 0;
        for (std::int64_t col = lane * V; col < width; col += 32 * V) {
            const Floats<V> x = load<T, V>(in.row(row) + col);
            const Floats<V> w = load<T, V>(weight.row(e) + col);
#pragma unroll
            for (int i = 0; i < V; ++i) sum += x.values[i] * w.values[i];
        }
        sum = sum_of_warp(sum);
        if (lane == 0) logits[row * num_experts + e] = sum;
    }
}

}  // namespace

void gate_choice(Stream stream, const float* logits, std::int64_t num_rows, std::int64_t num_experts,
                 const GateArgs& args, std::int32_t* ids, float* weights) {
    if (num_rows == 0) return;
    if (num_experts > kMostExperts) throw Error(Exit::internal, "gate_choice: too many experts for one warp");
    const Choice choice{.num_experts = static_cast<int>(num_experts),
                        .top_k = static_cast<int>(args.top_k),
                        .n_group = static_cast<int>(args.n_group),
                        .topk_group = static_cast<int>(args.topk_group),
                        .norm_topk_prob = args.norm_topk_prob,
                        .forced = args.forced,
                        .routed_scaling_factor = static_cast<float>(args.routed_scaling_factor)};
    const std::size_t bytes = sizeof(float) * 3 * kWarpsPerBlock * static_cast<std::size_t>(num_experts);
    choice_kernel<<<grid_of((num_rows + kWarpsPerBlock - 1) / kWarpsPerBlock), 32 * kWarpsPerBlock, bytes,
                    stream>>>(logits, num_rows, choice, ids, weights);
    check_launch("gate_choice");
}

void gate_logits(Stream stream, Rows in, Rows weight, float* logits) {
    if (in.num_rows == 0) return;
    with_vectors(
        [&]<typename T, int V>() {
            logits_kernel<T, V><<<grid_of(in.num_rows), 256, 0, stream>>>(
                view<T>(in), view<T>(weight), in.num_cols, weight.num_rows, logits);
        },
        in, weight);
    check_launch("gate_logits");
}

}  // namespace eps::kernels::device
