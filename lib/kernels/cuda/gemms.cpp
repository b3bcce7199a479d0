#include "kernels/cuda/gemms.hpp"

#include "kernels/require.hpp"

#include <algorithm>

#include <cuda_runtime.h>
#include <fmt/format.h>

namespace eps::kernels::device {
namespace {

int multiprocessors() {
    int device = 0, count = 0;
    cudaError_t error = cudaGetDevice(&device);
    if (error == cudaSuccess) error = cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device);
    if (error != cudaSuccess)
        throw Error(Exit::resource, std::string("no GPU: ") + cudaGetErrorString(error));
    return count;
}

/// Which tiles; bits are the same. Pairs of row tiles are faster, by about 100 / k (measured on an H200 at k
/// 1536 and 5120), but every expert's rows are filled up to 256 instead of 128.
const GroupGemm& instance_for(std::span<const GroupProblem> list, std::int64_t k) {
    std::int64_t in_row_pairs = 0, in_column_pairs = 0;  // rows that are computed
    for (const GroupProblem& problem : list) {
        in_row_pairs += (problem.num_rows + 255) / 256 * 256;
        in_column_pairs += (problem.num_rows + 127) / 128 * 128;
    }
    return in_column_pairs * (k + 100) < in_row_pairs * k ? group_gemm_column_pairs()
                                                          : group_gemm_row_pairs();
}

std::int64_t group_workspace_bytes(int num_sms) {
    std::size_t most = 0;
    for (const GroupGemm* gemm : {&group_gemm_row_pairs(), &group_gemm_column_pairs()})
        most = std::max(most, gemm->workspace_bytes(num_sms));
    return (static_cast<std::int64_t>(most) + 255) / 256 * 256;
}

/// DenseGemm's part of the workspace serves GroupGemm too.
std::int64_t shared_bytes(int num_sms) {
    return std::max(DenseGemm::kWorkspaceBytes, group_workspace_bytes(num_sms));
}

}  // namespace

std::int64_t Gemms::workspace_bytes(std::int64_t most_experts) {
    return shared_bytes(multiprocessors()) + group_problems_bytes(most_experts);
}

Gemms::Gemms(std::byte* workspace, std::int64_t most_experts)
    : workspace_(workspace),
      lists_(workspace + shared_bytes(multiprocessors())),
      most_experts_(most_experts),
      device_sms_(multiprocessors()) {}

void Gemms::linear(Stream stream, Rows in, Rows weight, const Rows* bias, Rows out, int num_sms) {
    dense_.run(stream, in, weight, bias, out, num_sms, workspace_);
}

void Gemms::expert_gemm(Stream stream, Rows in, std::span<const ExpertShare> experts, GemmKind kind, Rows out,
                        int num_sms) {
    if (out.num_cols == 0) return;
    const bool whole_vectors = in.num_cols % 8 == 0 && row_alignment(in) == 16 && row_alignment(out) == 16;
    if (kind == GemmKind::group && in.dtype == DType::bf16 && whole_vectors) {
        group_gemm(stream, in, experts, out, num_sms);
        return;
    }
    for (const ExpertShare& expert : experts) {
        // The weight is only read.
        const Rows weight{const_cast<std::byte*>(expert.weight), in.dtype, out.num_cols, in.num_cols,
                          in.num_cols};
        dense_.run(stream, in.slice(expert.rows.begin, expert.rows.end), weight, nullptr,
                   out.slice(expert.rows.begin, expert.rows.end), num_sms, workspace_);
    }
}

void Gemms::group_gemm(Stream stream, const Rows& in, std::span<const ExpertShare> experts, const Rows& out,
                       int num_sms) {
    require(in.dtype == out.dtype, "expert_gemm", "one dtype", in, out);
    list_.clear();
    for (const ExpertShare& expert : experts) {
        require(expert.rows.begin >= 0 && expert.rows.end <= std::min(in.num_rows, out.num_rows),
                "expert_gemm", "an expert's rows lie in both", in, out);
        if (expert.rows.size() == 0) continue;
        list_.push_back({expert.weight, expert.rows.begin, static_cast<std::int32_t>(expert.rows.size())});
    }
    if (list_.empty()) return;
    const std::int64_t num_experts = std::ssize(list_);
    if (num_experts > most_experts_)
        throw Error(Exit::internal,
                    fmt::format("expert_gemm: {} experts, workspace for {}", num_experts, most_experts_));

    const GroupProblems problems = place_group_problems(lists_, most_experts_);
    write_group_problems(stream, in, list_, out, problems);
    const PreparedKey key{&instance_for(list_, in.num_cols), static_cast<int>(num_experts),
                          num_sms > 0 ? num_sms : device_sms_};
    std::shared_ptr<void>& prepared = prepared_[key];
    if (!prepared) prepared = key.gemm->prepare(problems, key.num_experts, key.num_sms, workspace_);
    key.gemm->launch(stream, prepared.get());
}

std::string Gemms::describe() {
    return "DenseGemm: " + DenseGemm::describe() + "; GroupGemm: CUTLASS (bf16)";
}

}  // namespace eps::kernels::device
