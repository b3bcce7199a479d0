// What the fused attention reads beside its rows: whole keys, and the lists of the sequences.
#include "kernels/cuda/attention.hpp"
#include "kernels/cuda/vector.cuh"

#include <algorithm>

namespace eps::kernels::device {
namespace {

constexpr int kKeyThreads = 256;

template <typename T, int V>
__device__ Vector<T, V> raw_vector(const T* from) {
    return *reinterpret_cast<const Vector<T, V>*>(from);
}

// A block a row; threads (vector within a head's key, head).
template <typename T, int V>
__global__ void keys_kernel(View<T> kv, View<T> k_rope, int nope, int v_dim, int num_heads, View<T> keys) {
    const std::int64_t row = blockIdx.x;
    const int col = V * static_cast<int>(threadIdx.x);
    const int width = V * static_cast<int>(blockDim.x);
    const bool rotated = col >= nope;
    Vector<T, V> part;
    if (rotated) part = raw_vector<T, V>(k_rope.row(row) + col - nope);
    for (int head = static_cast<int>(threadIdx.y); head < num_heads; head += static_cast<int>(blockDim.y)) {
        if (!rotated) part = raw_vector<T, V>(kv.row(row) + std::int64_t{head} * (nope + v_dim) + col);
        *reinterpret_cast<Vector<T, V>*>(keys.row(row) + std::int64_t{head} * width + col) = part;
    }
}

constexpr std::size_t kSequencesPerLaunch = 256;

struct Starts {
    std::int64_t values[kSequencesPerLaunch + 1];
    std::int64_t first, count;  // number of the first, how many values
};

__global__ void lists_kernel(const __grid_constant__ Starts starts, std::int64_t query_stride,
                             std::int64_t kv_stride, std::int64_t out_stride, SequenceLists lists) {
    const std::int64_t i = threadIdx.x;
    if (i >= starts.count) return;
    const std::int64_t start = starts.values[i], to = starts.first + i;
    lists.query_offsets[to] = start * query_stride;
    lists.kv_offsets[to] = start * kv_stride;
    lists.out_offsets[to] = start * out_stride;
    if (i + 1 < starts.count) lists.lengths[to] = static_cast<std::int32_t>(starts.values[i + 1] - start);
}

std::int64_t offsets_bytes(std::int64_t num_sequences) {
    return (8 * (num_sequences + 1) + 15) / 16 * 16;
}

}  // namespace

void assemble_keys(Stream stream, Rows kv, Rows k_rope, const AttentionArgs& args, Rows keys) {
    if (kv.num_rows == 0 || args.num_heads == 0) return;
    const auto launch = [&]<typename T, int V>() {
        const auto vectors = static_cast<unsigned>((args.nope_dim + args.rope_dim) / V);
        const dim3 block(vectors, std::max(1U, kKeyThreads / vectors));
        keys_kernel<T, V><<<grid_of(kv.num_rows), block, 0, stream>>>(
            view<T>(kv), view<T>(k_rope), static_cast<int>(args.nope_dim), static_cast<int>(args.v_dim),
            static_cast<int>(args.num_heads), view<T>(keys));
    };
    const std::int64_t length = 16 / bytes_of(kv.dtype);
    const bool whole = args.nope_dim % length == 0 && args.rope_dim % length == 0 && args.v_dim % length == 0;
    if (whole)
        with_vectors(launch, kv, k_rope, keys);
    else  // one element at a time
        with_float_type(kv.dtype, [&]<typename T>() {
            if constexpr (std::is_same_v<T, float>)
                launch.template operator()<float, 1>();
            else
                launch.template operator()<__nv_bfloat16, 1>();
        });
    check_launch("assemble_keys");
}

std::int64_t sequence_lists_bytes(std::int64_t num_sequences) {
    return 3 * offsets_bytes(num_sequences) + (4 * num_sequences + 15) / 16 * 16;
}

SequenceLists place_sequence_lists(std::byte* bytes, std::int64_t num_sequences) {
    const std::int64_t step = offsets_bytes(num_sequences);
    return {.lengths = reinterpret_cast<std::int32_t*>(bytes + 3 * step),
            .query_offsets = reinterpret_cast<std::int64_t*>(bytes),
            .kv_offsets = reinterpret_cast<std::int64_t*>(bytes + step),
            .out_offsets = reinterpret_cast<std::int64_t*>(bytes + 2 * step)};
}

void write_sequence_lists(Stream stream, std::span<const std::int64_t> starts, std::int64_t query_stride,
                          std::int64_t kv_stride, std::int64_t out_stride, const SequenceLists& lists) {
    for (std::size_t first = 0; first + 1 < starts.size(); first += kSequencesPerLaunch) {
        Starts part;
        const std::size_t count = std::min(kSequencesPerLaunch + 1, starts.size() - first);
        std::copy_n(starts.begin() + static_cast<std::ptrdiff_t>(first), count, part.values);
        part.first = static_cast<std::int64_t>(first);
        part.count = static_cast<std::int64_t>(count);
        lists_kernel<<<1, kSequencesPerLaunch + 32, 0, stream>>>(part, query_stride, kv_stride, out_stride,
                                                                 lists);
    }
    check_launch("write_sequence_lists");
}

}  // namespace eps::kernels::device
