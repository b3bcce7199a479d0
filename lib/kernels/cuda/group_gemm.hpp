// GroupGemm: one launch for the experts of a chunk, each with its own rows and weight (CUTLASS, sm_90a). The
// compiled instances behind a plain interface: tiles differ, bits do not, since every output is one f32 sum
// over k in ascending order.
#pragma once

#include "kernels/cuda/kernels.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace eps::kernels::device {

/// What is done with a product before it is written. swiglu: its columns are interleaved gate and up
/// (interleaved.hpp), written are silu(gate) * up, both rounded to bf16 before: the bits of a plain product
/// and swiglu().
enum class Then { nothing, swiglu };

/// The experts' products as the instances read them, in device memory: [most_experts] each.
struct GroupProblems {
    std::int32_t* sizes = nullptr;  // (rows, n, k) each
    const std::byte** in = nullptr;
    const std::byte** weight = nullptr;
    std::byte** out = nullptr;
    std::int64_t* in_stride = nullptr;  // elements between rows
    std::int64_t* weight_stride = nullptr;
    std::int64_t* out_stride = nullptr;
};

/// One expert's product; `num_rows` > 0.
struct GroupProblem {
    const std::byte* weight;
    std::int64_t first_row;
    std::int32_t num_rows;
};

/// Bytes of the arrays for so many experts; and the arrays inside such bytes.
std::int64_t group_problems_bytes(std::int64_t most_experts);
GroupProblems place_group_problems(std::byte* bytes, std::int64_t most_experts);

/// The arrays from entry `first` on.
GroupProblems entries_from(const GroupProblems& problems, std::int64_t first);

/// Fills arrays in host memory, for a copy to be sent.
void fill_group_problems(const Rows& in, std::span<const GroupProblem> list, Then then, const Rows& out,
                         const GroupProblems& problems);

/// Fills the arrays on the stream. The list travels as arguments of the launch: nothing else has to stay.
void write_group_problems(Stream stream, const Rows& in, std::span<const GroupProblem> list, Then then,
                          const Rows& out, const GroupProblems& problems);

/// One tile shape. bf16 in and out, f32 sums; rows are whole vectors of 16 bytes.
struct GroupGemm {
    std::size_t (*workspace_bytes)(int num_sms);
    /// What the host has to do for a launch, once for so many experts whose lists lie in `problems`: whatever
    /// they hold then.
    std::shared_ptr<void> (*prepare)(const GroupProblems& problems, int num_experts, int num_sms,
                                     void* workspace);
    void (*launch)(Stream stream, void* prepared);
};

const GroupGemm& group_gemm_row_pairs();     // 128 x 192, ping-pong: two row tiles share a weight's
const GroupGemm& group_gemm_column_pairs();  // 128 x 256, cooperative: two column tiles share the rows
const GroupGemm& group_gemm_row_pairs_swiglu();
const GroupGemm& group_gemm_column_pairs_swiglu();

}  // namespace eps::kernels::device
