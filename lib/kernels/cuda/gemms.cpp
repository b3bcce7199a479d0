#include "kernels/cuda/gemms.hpp"

#include "kernels/cuda/interleaved.hpp"
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
const GroupGemm& instance_for(std::span<const GroupProblem> list, std::int64_t k, Then then) {
    std::int64_t in_row_pairs = 0, in_column_pairs = 0;  // rows that are computed
    for (const GroupProblem& problem : list) {
        in_row_pairs += (problem.num_rows + 255) / 256 * 256;
        in_column_pairs += (problem.num_rows + 127) / 128 * 128;
    }
    if (in_column_pairs * (k + 100) < in_row_pairs * k)
        return then == Then::swiglu ? group_gemm_column_pairs_swiglu() : group_gemm_column_pairs();
    return then == Then::swiglu ? group_gemm_row_pairs_swiglu() : group_gemm_row_pairs();
}

std::int64_t group_workspace_bytes(int num_sms) {
    std::size_t most = 0;
    for (const GroupGemm* gemm : {&group_gemm_row_pairs(), &group_gemm_column_pairs(),
                                  &group_gemm_row_pairs_swiglu(), &group_gemm_column_pairs_swiglu()})
        most = std::max(most, gemm->workspace_bytes(num_sms));
    return (static_cast<std::int64_t>(most) + 255) / 256 * 256;
}

/// DenseGemm's part of the workspace serves GroupGemm too.
std::int64_t shared_bytes(int num_sms) {
    return std::max(DenseGemm::kWorkspaceBytes, group_workspace_bytes(num_sms));
}

/// Whether one launch takes all experts.
bool is_grouped(const Rows& in, GemmKind kind, const Rows& out) {
    const bool whole_vectors = in.num_cols % 8 == 0 && row_alignment(in) == 16 && row_alignment(out) == 16;
    return kind == GemmKind::group && in.dtype == DType::bf16 && whole_vectors;
}

}  // namespace

std::int64_t Gemms::workspace_bytes(std::int64_t most_experts) {
    return shared_bytes(multiprocessors()) + (kNumLists + 1) * group_problems_bytes(most_experts);
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
    if (is_grouped(in, kind, out)) {
        collect(in, experts, out);
        if (list_.empty()) return;
        write_group_problems(stream, in, list_, Then::nothing, out, list_at(lists_, kOwnList));
        launch(
            stream,
            {&instance_for(list_, in.num_cols, Then::nothing), kOwnList, 0, static_cast<int>(list_.size())},
            num_sms);
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

bool Gemms::takes_swiglu(const Rows& in, GemmKind kind, const Rows& out) {
    return is_grouped(in, kind, out) && is_interleaved(in.dtype, 2 * out.num_cols);
}

std::int64_t Gemms::lists_bytes() const {
    return kNumLists * group_problems_bytes(most_experts_);
}

GroupProblems Gemms::list_at(std::byte* lists, int which) const {
    return place_group_problems(lists + which * group_problems_bytes(most_experts_), most_experts_);
}

void Gemms::begin_lists(std::byte* host) {
    host_lists_ = host;
    num_listed_ = {};
}

std::optional<Gemms::Listed> Gemms::list(Which which, Rows in, std::span<const ExpertShare> experts,
                                         GemmKind kind, Rows out, Then then) {
    if (out.num_cols == 0 || !is_grouped(in, kind, out)) return {};
    require(then == Then::nothing || takes_swiglu(in, kind, out), "expert_gemm", "gate and up interleaved",
            in, out);
    collect(in, experts, out);
    if (list_.empty()) return Listed{};
    int& listed = num_listed_.at(static_cast<std::size_t>(which));
    const Listed product{&instance_for(list_, in.num_cols, then), which, listed,
                         static_cast<int>(list_.size())};
    listed += product.count;
    require_room(listed);
    fill_group_problems(in, list_, then, out, entries_from(list_at(host_lists_, which), product.first));
    return product;
}

void Gemms::send_lists(Stream stream) {
    const cudaError_t error = cudaMemcpyAsync(lists_, host_lists_, static_cast<std::size_t>(lists_bytes()),
                                              cudaMemcpyHostToDevice, stream);
    if (error != cudaSuccess)
        throw Error(Exit::internal, std::string("expert_gemm: sending lists: ") + cudaGetErrorString(error));
}

void Gemms::run(Stream stream, const Listed& product, int num_sms) {
    if (product.gemm != nullptr) launch(stream, product, num_sms);
}

void Gemms::require_room(std::int64_t num_experts) const {
    if (num_experts > most_experts_)
        throw Error(Exit::internal,
                    fmt::format("expert_gemm: {} experts, workspace for {}", num_experts, most_experts_));
}

// The experts that have rows.
void Gemms::collect(const Rows& in, std::span<const ExpertShare> experts, const Rows& out) {
    require(in.dtype == out.dtype, "expert_gemm", "one dtype", in, out);
    list_.clear();
    for (const ExpertShare& expert : experts) {
        require(expert.rows.begin >= 0 && expert.rows.end <= std::min(in.num_rows, out.num_rows),
                "expert_gemm", "an expert's rows lie in both", in, out);
        if (expert.rows.size() == 0) continue;
        list_.push_back({expert.weight, expert.rows.begin, static_cast<std::int32_t>(expert.rows.size())});
    }
    require_room(std::ssize(list_));
}

void Gemms::launch(Stream stream, const Listed& product, int num_sms) {
    const PreparedKey key{product.gemm, product.which, product.first, product.count,
                          num_sms > 0 ? num_sms : device_sms_};
    std::shared_ptr<void>& prepared = prepared_[key];
    if (!prepared)
        prepared = key.gemm->prepare(entries_from(list_at(lists_, key.which), key.first), key.num_experts,
                                     key.num_sms, workspace_);
    key.gemm->launch(stream, prepared.get());
}

std::string Gemms::describe() {
    return "DenseGemm: " + DenseGemm::describe() + "; GroupGemm: CUTLASS (bf16, with SwiGLU)";
}

}  // namespace eps::kernels::device
