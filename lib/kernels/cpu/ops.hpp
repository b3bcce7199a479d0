// The fast kernels, one .cpp each (<op>.cpp): oneDNN, OpenMP over rows, SIMD. Meanings of the arguments:
// kernels.hpp. A row's bits depend neither on `threads` nor on the rows beside it, except through the GEMMs
// of linear and expert_gemm.
#pragma once

#include "kernels/kernels.hpp"

namespace eps::kernels {

/// Fast: oneDNN GEMM with packed weights, OpenMP over rows.
const Kernels& cpu_kernels();

}  // namespace eps::kernels

namespace eps::kernels::cpu {

std::string describe_gemm(DType dtype);
std::int64_t packed_bytes(DType dtype, std::int64_t n, std::int64_t k);
std::unique_ptr<GemmWeight> pack(Rows weight);
void linear(Rows in, const GemmWeight& weight, const Rows* bias, Rows out, int threads);
void expert_gemm(Rows in, std::span<const ExpertRows> experts, GemmKind kind, Rows out, int threads);
void embed(std::span<const std::int32_t> ids, Rows table, Rows out, int threads);
void pack_rows(Rows in, std::span<const std::int32_t> index, Rows out, int threads);
void rms_norm(Rows in, Rows weight, double eps, Rows out, int threads);
void rope(Rows x, std::span<const std::int32_t> positions, const RopeTable& table, std::int64_t num_heads,
          std::int64_t head_stride, std::int64_t offset, int threads);
void attention(Rows q, Rows kv, Rows k_rope, std::span<const std::int64_t> starts, const AttentionArgs& args,
               Rows out, int threads);
void gate(Rows in, Rows weight, const GateArgs& args, std::int32_t* ids, float* weights, int threads);
void swiglu(Rows in, Rows out, int threads);
void local_reduce(Rows in, std::span<const std::int32_t> starts, std::span<const std::int32_t> index,
                  std::span<const float> weights, Rows out, int threads);
void unpack_sum(Rows in, std::span<const std::int32_t> starts, std::span<const std::int32_t> index,
                const Rows* shared, const Rows* residual, Rows out, int threads);
void sum_rows(std::span<const Rows> parts, Rows out, int threads);

}  // namespace eps::kernels::cpu
