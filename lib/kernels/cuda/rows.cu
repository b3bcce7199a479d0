// Rows that move or change in place: gather, bias, rope, SwiGLU.
#include "kernels/cuda/interleaved.hpp"
#include "kernels/cuda/kernels.hpp"
#include "kernels/cuda/swiglu.cuh"
#include "kernels/cuda/vector.cuh"

#include <algorithm>

namespace eps::kernels::device {
namespace {

// As bits: a gather rounds nothing. `width` in elements.
template <typename T, int V>
__global__ void gather_kernel(View<T> in, const std::int32_t* index, std::int64_t width, View<T> out) {
    const std::int64_t row = blockIdx.x;
    const T* from = in.row(index[row]);
    T* to = out.row(row);
    for (std::int64_t col = threadIdx.x * V; col < width; col += blockDim.x * V)
        *reinterpret_cast<Vector<T, V>*>(to + col) = *reinterpret_cast<const Vector<T, V>*>(from + col);
}

// Rows that are gathered, range after range: block i has the row whose number among them is i.
struct GatheredRanges {
    int num = 0;
    std::int32_t before[kMostRanges];  // rows of the ranges before
    std::int32_t begin[kMostRanges];
};

template <typename T, int V>
__global__ void gather_ranges_kernel(View<T> in, const std::int32_t* index,
                                     const __grid_constant__ GatheredRanges ranges, std::int64_t width,
                                     SplitView<T> out) {
    const int block = static_cast<int>(blockIdx.x);
    int range = 0;
    while (range + 1 < ranges.num && ranges.before[range + 1] <= block) ++range;
    const std::int64_t row = ranges.begin[range] + block - ranges.before[range];
    const T* from = in.row(index[row]);
    T* to = out.row(row);
    for (std::int64_t col = threadIdx.x * V; col < width; col += blockDim.x * V)
        *reinterpret_cast<Vector<T, V>*>(to + col) = *reinterpret_cast<const Vector<T, V>*>(from + col);
}

template <typename T, int V>
__global__ void bias_kernel(const T* bias, std::int64_t width, View<T> x) {
    T* row = x.row(blockIdx.x);
    for (std::int64_t col = threadIdx.x * V; col < width; col += blockDim.x * V) {
        Floats<V> sum = load<T, V>(row + col);
        const Floats<V> b = load<T, V>(bias + col);
#pragma unroll
        for (int i = 0; i < V; ++i) sum.values[i] += b.values[i];
        store<T, V>(row + col, sum);
    }
}

constexpr int kRopeThreads = 512;

// `V` elements of a head: V / 2 pairs.
template <typename T, int V>
__device__ Vector<T, V> turned(const Vector<T, V>& raw, const Floats<V>& cos_sin) {
    Vector<T, V> result;
#pragma unroll
    for (int p = 0; p < V; p += 2) {
        const float a = to_float(raw.values[p]), b = to_float(raw.values[p + 1]);
        const float cosine = cos_sin.values[p], sine = cos_sin.values[p + 1];
        // Products first, as the twin has them: no fused multiply-add.
        result.values[p] = rounded<T>(__fsub_rn(__fmul_rn(a, cosine), __fmul_rn(b, sine)));
        result.values[p + 1] = rounded<T>(__fadd_rn(__fmul_rn(a, sine), __fmul_rn(b, cosine)));
    }
    return result;
}

// Threads (V elements of a head, head), a block a row and as many pairs of heads as it has threads for. A
// thread reads both heads before it waits for their angles; a multiprocessor holds as many threads as it can.
template <typename T, int V>
__global__ void __launch_bounds__(kRopeThreads, 2048 / kRopeThreads)
    rope_kernel(View<T> x, const std::int32_t* positions, const float* cos_sin, int num_heads,
                std::int64_t head_stride, std::int64_t offset) {
    const int step = static_cast<int>(blockDim.y);
    const int head = static_cast<int>(2 * blockIdx.y * blockDim.y + threadIdx.y);
    if (head >= num_heads) return;
    const int first = V * static_cast<int>(threadIdx.x), rope_dim = V * static_cast<int>(blockDim.x);
    T* const one = x.row(blockIdx.x) + offset + first + head * head_stride;
    T* const other = one + step * head_stride;
    const bool two = head + step < num_heads;
    const auto raw = *reinterpret_cast<const Vector<T, V>*>(one);
    Vector<T, V> other_raw;
    if (two) other_raw = *reinterpret_cast<const Vector<T, V>*>(other);
    const Floats<V> angles = load<float, V>(cos_sin + std::int64_t{positions[blockIdx.x]} * rope_dim + first);
    *reinterpret_cast<Vector<T, V>*>(one) = turned<T, V>(raw, angles);
    if (two) *reinterpret_cast<Vector<T, V>*>(other) = turned<T, V>(other_raw, angles);
}

template <typename T, int V>
__global__ void swiglu_kernel(View<T> in, std::int64_t width, View<T> out) {
    const T* gates = in.row(blockIdx.x);
    const T* ups = gates + width;
    T* to = out.row(blockIdx.x);
    for (std::int64_t col = threadIdx.x * V; col < width; col += blockDim.x * V) {
        const Floats<V> gate = load<T, V>(gates + col);
        const Floats<V> up = load<T, V>(ups + col);
        Floats<V> result;
#pragma unroll
        for (int i = 0; i < V; ++i) result.values[i] = swiglu_of<T>(gate.values[i], up.values[i]);
        store<T, V>(to + col, result);
    }
}

// Eight outputs at once, whose pairs of gate and up lie eight columns apart.
__global__ void swiglu_interleaved_kernel(View<__nv_bfloat16> in, std::int64_t width,
                                          View<__nv_bfloat16> out) {
    constexpr int kPairs = kVectorLength<__nv_bfloat16>;
    const __nv_bfloat16* from = in.row(blockIdx.x);
    for (std::int64_t vector = threadIdx.x; vector < width / kPairs; vector += blockDim.x) {
        const std::int64_t first = vector / 4 * kInterleavedRows + vector % 4 * 2;
        Floats<kPairs> result;
#pragma unroll
        for (int i = 0; i < kPairs; ++i) {
            const float2 pair =
                __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162*>(from + first + 8 * i));
            result.values[i] = swiglu_of<__nv_bfloat16>(pair.x, pair.y);
        }
        store<__nv_bfloat16, kPairs>(out.row(blockIdx.x) + output_of(first), result);
    }
}

}  // namespace

void gather_rows(Stream stream, Rows in, const std::int32_t* index, Rows out) {
    if (out.num_rows == 0) return;
    with_vectors(
        [&]<typename T, int V>() {
            gather_kernel<T, V><<<grid_of(out.num_rows), threads_for_row(out.num_cols, V), 0, stream>>>(
                view<T>(in), index, out.num_cols, view<T>(out));
        },
        in, out);
    check_launch("gather_rows");
}

void gather_ranges(Stream stream, Rows in, const std::int32_t* index, std::span<const std::int64_t> ranges,
                   Rows out, const Apart& apart) {
    std::size_t next = 0;
    while (next < ranges.size()) {
        GatheredRanges part;
        std::int64_t num_rows = 0;
        for (; next < ranges.size() && part.num < kMostRanges; next += 2) {
            if (ranges[next + 1] <= ranges[next]) continue;
            part.before[part.num] = static_cast<std::int32_t>(num_rows);
            part.begin[part.num] = static_cast<std::int32_t>(ranges[next]);
            ++part.num;
            num_rows += ranges[next + 1] - ranges[next];
        }
        if (num_rows == 0) continue;
        with_vectors(
            [&]<typename T, int V>() {
                gather_ranges_kernel<T, V>
                    <<<grid_of(num_rows), threads_for_row(out.num_cols, V), 0, stream>>>(
                        view<T>(in), index, part, out.num_cols, view<T>(out, apart));
            },
            in, out, apart.rows.empty() ? out : apart.to);
        check_launch("gather_ranges");
    }
}

void add_bias(Stream stream, Rows bias, Rows x) {
    if (x.num_rows == 0) return;
    with_vectors(
        [&]<typename T, int V>() {
            bias_kernel<T, V><<<grid_of(x.num_rows), threads_for_row(x.num_cols, V), 0, stream>>>(
                view<T>(bias).data, x.num_cols, view<T>(x));
        },
        bias, x);
    check_launch("add_bias");
}

void rope(Stream stream, Rows x, const std::int32_t* positions, const float* cos_sin, std::int64_t num_pairs,
          std::int64_t num_heads, std::int64_t head_stride, std::int64_t offset) {
    if (x.num_rows == 0 || num_pairs * num_heads == 0) return;
    const std::int64_t rope_dim = 2 * num_pairs;
    const std::int64_t vector = 16 / bytes_of(x.dtype);
    // Heads begin and end between vectors, or pairs go one by one.
    const bool wide = in_vectors(x.columns(offset, rope_dim)) && head_stride % vector == 0;
    const auto launch = [&]<typename T, int V>() {
        const auto vectors = static_cast<unsigned>(rope_dim / V), heads = static_cast<unsigned>(num_heads);
        const dim3 block(vectors, std::min((heads + 1) / 2, std::max(1U, kRopeThreads / vectors)));
        dim3 grid = grid_of(x.num_rows);
        grid.y = (heads + 2 * block.y - 1) / (2 * block.y);
        rope_kernel<T, V><<<grid, block, 0, stream>>>(view<T>(x), positions, cos_sin,
                                                      static_cast<int>(num_heads), head_stride, offset);
    };
    with_vectors(
        [&]<typename T, int V>() {
            if (wide)
                launch.template operator()<T, kVectorLength<T>>();
            else
                launch.template operator()<T, 2>();
        },
        x);
    check_launch("rope");
}

void swiglu(Stream stream, Rows in, Rows out) {
    if (out.num_rows == 0) return;
    with_vectors(
        [&]<typename T, int V>() {
            swiglu_kernel<T, V><<<grid_of(out.num_rows), threads_for_row(out.num_cols, V), 0, stream>>>(
                view<T>(in), out.num_cols, view<T>(out));
        },
        in.columns(0, out.num_cols), out);
    check_launch("swiglu");
}

void swiglu_interleaved(Stream stream, Rows in, Rows out) {
    if (!is_interleaved(in.dtype, in.num_cols) || !in_vectors(in) || !in_vectors(out))
        throw Error(Exit::internal, "swiglu_interleaved: bf16 rows of whole vectors, 64 columns to a period");
    if (out.num_rows == 0) return;
    const int threads = threads_for_row(out.num_cols, kVectorLength<__nv_bfloat16>);
    swiglu_interleaved_kernel<<<grid_of(out.num_rows), threads, 0, stream>>>(
        view<__nv_bfloat16>(in), out.num_cols, view<__nv_bfloat16>(out));
    check_launch("swiglu_interleaved");
}

}  // namespace eps::kernels::device
