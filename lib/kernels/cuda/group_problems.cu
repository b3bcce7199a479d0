// The lists of a GroupGemm, written on the device from a launch's arguments.
#include "kernels/cuda/group_gemm.hpp"
#include "kernels/cuda/vector.cuh"

#include <algorithm>
#include <array>

namespace eps::kernels::device {
namespace {

// A launch takes longer the more arguments it has: 384 bytes for a chunk's few experts, or 3 kB.
constexpr std::size_t kFew = 16, kMany = 128;

template <std::size_t kMost>
struct Part {
    GroupProblem list[kMost];
    int first, count;
};

struct Matrices {
    const std::byte* in;
    std::byte* out;
    std::int64_t in_stride, out_stride, n, k;
};

__host__ __device__ void write(const GroupProblem& from, const Matrices& matrices, std::int64_t element,
                               const GroupProblems& problems, int to) {
    problems.sizes[3 * to] = from.num_rows;
    problems.sizes[3 * to + 1] = static_cast<std::int32_t>(matrices.n);
    problems.sizes[3 * to + 2] = static_cast<std::int32_t>(matrices.k);
    problems.in[to] = matrices.in + from.first_row * matrices.in_stride * element;
    problems.weight[to] = from.weight;
    problems.out[to] = matrices.out + from.first_row * matrices.out_stride * element;
    problems.in_stride[to] = matrices.in_stride;
    problems.weight_stride[to] = matrices.k;
    problems.out_stride[to] = matrices.out_stride;
}

template <std::size_t kMost>
__global__ void write_problems_kernel(const __grid_constant__ Part<kMost> part, Matrices matrices,
                                      std::int64_t element, GroupProblems problems) {
    const int i = static_cast<int>(threadIdx.x);
    if (i < part.count) write(part.list[i], matrices, element, problems, part.first + i);
}

Matrices matrices_of(const Rows& in, Then then, const Rows& out) {
    return {.in = in.data,
            .out = out.data,
            .in_stride = in.stride,
            .out_stride = out.stride,
            .n = then == Then::swiglu ? 2 * out.num_cols : out.num_cols,
            .k = in.num_cols};
}

template <std::size_t kMost>
void launch(Stream stream, std::span<const GroupProblem> list, const Matrices& matrices, std::int64_t element,
            const GroupProblems& problems) {
    for (std::size_t first = 0; first < list.size(); first += kMost) {
        Part<kMost> part;
        const std::size_t count = std::min(kMost, list.size() - first);
        std::copy_n(list.begin() + static_cast<std::ptrdiff_t>(first), count, part.list);
        part.first = static_cast<int>(first);
        part.count = static_cast<int>(count);
        write_problems_kernel<kMost><<<1, kMost, 0, stream>>>(part, matrices, element, problems);
    }
}

// Sizes of a problem's entries, each rounded up to a multiple of 16 bytes for its array.
constexpr std::array<std::int64_t, 7> kEntryBytes{3 * 4, 8, 8, 8, 8, 8, 8};

std::int64_t array_bytes(std::int64_t entry_bytes, std::int64_t most_experts) {
    return (entry_bytes * most_experts + 15) / 16 * 16;
}

}  // namespace

std::int64_t group_problems_bytes(std::int64_t most_experts) {
    std::int64_t bytes = 0;
    for (const std::int64_t entry : kEntryBytes) bytes += array_bytes(entry, most_experts);
    return bytes;
}

GroupProblems place_group_problems(std::byte* bytes, std::int64_t most_experts) {
    std::array<std::byte*, kEntryBytes.size()> at{};
    for (std::size_t i = 0; i < at.size(); ++i) {
        at[i] = bytes;
        bytes += array_bytes(kEntryBytes[i], most_experts);
    }
    return {.sizes = reinterpret_cast<std::int32_t*>(at[0]),
            .in = reinterpret_cast<const std::byte**>(at[1]),
            .weight = reinterpret_cast<const std::byte**>(at[2]),
            .out = reinterpret_cast<std::byte**>(at[3]),
            .in_stride = reinterpret_cast<std::int64_t*>(at[4]),
            .weight_stride = reinterpret_cast<std::int64_t*>(at[5]),
            .out_stride = reinterpret_cast<std::int64_t*>(at[6])};
}

GroupProblems entries_from(const GroupProblems& problems, std::int64_t first) {
    return {.sizes = problems.sizes + 3 * first,
            .in = problems.in + first,
            .weight = problems.weight + first,
            .out = problems.out + first,
            .in_stride = problems.in_stride + first,
            .weight_stride = problems.weight_stride + first,
            .out_stride = problems.out_stride + first};
}

void fill_group_problems(const Rows& in, std::span<const GroupProblem> list, Then then, const Rows& out,
                         const GroupProblems& problems) {
    const Matrices matrices = matrices_of(in, then, out);
    for (std::size_t i = 0; i < list.size(); ++i)
        write(list[i], matrices, bytes_of(in.dtype), problems, static_cast<int>(i));
}

void write_group_problems(Stream stream, const Rows& in, std::span<const GroupProblem> list, Then then,
                          const Rows& out, const GroupProblems& problems) {
    const Matrices matrices = matrices_of(in, then, out);
    const auto launched = list.size() <= kFew ? launch<kFew> : launch<kMany>;
    launched(stream, list, matrices, bytes_of(in.dtype), problems);
    check_launch("write_group_problems");
}

}  // namespace eps::kernels::device
