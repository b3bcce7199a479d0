// Sums over rows, each in its list's order: local_reduce, unpack_sum, sum_rows. One block a row of output.
#include "kernels/cuda/kernels.hpp"
#include "kernels/cuda/vector.cuh"

namespace eps::kernels::device {
namespace {

template <typename T, int V>
__global__ void local_reduce_kernel(View<T> in, const std::int32_t* starts, const std::int32_t* index,
                                    const float* weights, std::int64_t width, SplitView<T> out) {
    const std::int64_t row = blockIdx.x;
    const std::int32_t begin = starts[row], end = starts[row + 1];
    for (std::int64_t col = threadIdx.x * V; col < width; col += blockDim.x * V) {
        Floats<V> sum{};
        for (std::int32_t j = begin; j < end; ++j) {
            const float weight = weights[j];
            const Floats<V> y = load<T, V>(in.row(index[j]) + col);
#pragma unroll
            for (int i = 0; i < V; ++i) sum.values[i] += weight * y.values[i];
        }
        store<T, V>(out.row(row) + col, sum);
    }
}

template <typename T, int V>
__device__ void add(Floats<V>& sum, const T* from) {
    const Floats<V> x = load<T, V>(from);
#pragma unroll
    for (int i = 0; i < V; ++i) sum.values[i] += x.values[i];
}

template <typename T, int V>
__global__ void unpack_sum_kernel(View<T> in, const std::int32_t* starts, const std::int32_t* index,
                                  View<T> shared, View<T> residual, std::int64_t width, View<T> out) {
    const std::int64_t row = blockIdx.x;
    const std::int32_t begin = starts != nullptr ? starts[row] : 0;
    const std::int32_t end = starts != nullptr ? starts[row + 1] : 1;
    for (std::int64_t col = threadIdx.x * V; col < width; col += blockDim.x * V) {
        Floats<V> sum{};
        for (std::int32_t j = begin; j < end; ++j)
            add<T, V>(sum, in.row(index != nullptr ? std::int64_t{index[j]} : row) + col);
        if (shared.data != nullptr) add<T, V>(sum, shared.row(row) + col);
        if (residual.data != nullptr) add<T, V>(sum, residual.row(row) + col);
        store<T, V>(out.row(row) + col, sum);
    }
}

template <typename T>
struct Parts {
    View<T> parts[kMostParts];
    int count;
};

template <typename T, int V>
__global__ void sum_rows_kernel(Parts<T> from, std::int64_t width, View<T> out) {
    const std::int64_t row = blockIdx.x;
    for (std::int64_t col = threadIdx.x * V; col < width; col += blockDim.x * V) {
        Floats<V> sum{};
        for (int p = 0; p < from.count; ++p) add<T, V>(sum, from.parts[p].row(row) + col);
        store<T, V>(out.row(row) + col, sum);
    }
}

}  // namespace

void local_reduce(Stream stream, Rows in, const std::int32_t* starts, const std::int32_t* index,
                  const float* weights, Rows out, const Apart& apart) {
    if (out.num_rows == 0) return;
    with_vectors(
        [&]<typename T, int V>() {
            local_reduce_kernel<T, V><<<grid_of(out.num_rows), threads_for_row(out.num_cols, V), 0, stream>>>(
                view<T>(in), starts, index, weights, out.num_cols, view<T>(out, apart));
        },
        in, out, apart.rows.empty() ? out : apart.to);
    check_launch("local_reduce");
}

void unpack_sum(Stream stream, Rows in, const std::int32_t* starts, const std::int32_t* index,
                const Rows* shared, const Rows* residual, Rows out) {
    if (out.num_rows == 0) return;
    with_vectors(
        [&]<typename T, int V>() {
            unpack_sum_kernel<T, V><<<grid_of(out.num_rows), threads_for_row(out.num_cols, V), 0, stream>>>(
                view<T>(in), starts, index, shared != nullptr ? view<T>(*shared) : View<T>{},
                residual != nullptr ? view<T>(*residual) : View<T>{}, out.num_cols, view<T>(out));
        },
        in, out, shared != nullptr ? *shared : out, residual != nullptr ? *residual : out);
    check_launch("unpack_sum");
}

void sum_rows(Stream stream, std::span<const Rows> parts, Rows out) {
    if (out.num_rows == 0) return;
    if (std::ssize(parts) > kMostParts)
        throw Error(Exit::internal, "sum_rows: too many parts for one launch");
    bool wide = in_vectors(out);
    for (const Rows& part : parts) wide = wide && in_vectors(part) && part.dtype == out.dtype;
    const auto launch = [&]<typename T, int V>() {
        Parts<T> from{};
        from.count = static_cast<int>(parts.size());
        for (std::size_t p = 0; p < parts.size(); ++p) from.parts[p] = view<T>(parts[p]);
        if (wide)
            sum_rows_kernel<T, V><<<grid_of(out.num_rows), threads_for_row(out.num_cols, V), 0, stream>>>(
                from, out.num_cols, view<T>(out));
        else
            sum_rows_kernel<T, 1><<<grid_of(out.num_rows), threads_for_row(out.num_cols, 1), 0, stream>>>(
                from, out.num_cols, view<T>(out));
    };
    with_vectors(launch, out);
    check_launch("sum_rows");
}

}  // namespace eps::kernels::device
