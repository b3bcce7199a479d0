// The matrix products of a pass on device memory: DenseGemm by cuBLASLt, GroupGemm by CUTLASS.
#pragma once

#include "base/range.hpp"
#include "kernels/cuda/dense_gemm.hpp"
#include "kernels/cuda/group_gemm.hpp"
#include "kernels/cuda/kernels.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace eps::kernels::device {

/// One expert's share of a grouped product: its weight [n, k], contiguous, and its rows (the same numbers in
/// input and output). May be without rows.
struct ExpertShare {
    const std::byte* weight = nullptr;
    Range rows;
};

/// For one stream at a time: the workspace is written by every product.
class Gemms {
  public:
    /// Bytes of `workspace` for products of at most `most_experts` experts.
    static std::int64_t workspace_bytes(std::int64_t most_experts);

    /// For the current device; `workspace` is device memory, aligned to 256 bytes, and outlives the object.
    Gemms(std::byte* workspace, std::int64_t most_experts);

    /// out [m, n] = in [m, k] weight [n, k]^T (+ bias [1, n]); see DenseGemm. With bf16 rows and an f32 `out`
    /// the products are exact and summed in f32: the gate's logits.
    /// `num_sms`: how many multiprocessors it may use (0: all); never changes a bit.
    void linear(Stream stream, Rows in, Rows weight, const Rows* bias, Rows out, int num_sms = 0);

    /// out.rows = in.rows weight^T for every expert. A result depends on (kind, its rows, n, k, dtype) only.
    /// group: one launch for all; f32, and rows that are no whole vectors of 16 bytes, go one expert after
    /// another, as dense.
    void expert_gemm(Stream stream, Rows in, std::span<const ExpertShare> experts, GemmKind kind, Rows out,
                     int num_sms = 0);

    /// Whether list() takes Then::swiglu for these: one launch, and 2 * out.num_cols rows of weights that are
    /// interleaved.
    static bool takes_swiglu(const Rows& in, GemmKind kind, const Rows& out);

    /// A grouped product whose list is sent with those of others.
    struct Listed {
        const GroupGemm* gemm = nullptr;  // null: no rows
        int which = 0, first = 0, count = 0;
    };
    /// Which of two lists: each holds as many experts as there may be.
    enum Which : int { kFirstList, kSecondList };

    /// Products that are known ahead: one copy for all their lists instead of a launch for each. Their lists
    /// are written to `host`, page-locked and lists_bytes() long, which stays as it is until the stream has
    /// got to send_lists(). The products of the lists before are enqueued on the same stream.
    std::int64_t lists_bytes() const;
    void begin_lists(std::byte* host);
    /// Adds a product; nullopt where it is none for a list, but one for expert_gemm().
    std::optional<Listed> list(Which which, Rows in, std::span<const ExpertShare> experts, GemmKind kind,
                               Rows out, Then then = Then::nothing);
    void send_lists(Stream stream);
    void run(Stream stream, const Listed& product, int num_sms = 0);

    /// What runs where, for reports.
    static std::string describe();

  private:
    static constexpr int kNumLists = 2;
    static constexpr int kOwnList = kNumLists;  // of a product that writes it by a launch
    void require_room(std::int64_t num_experts) const;
    void collect(const Rows& in, std::span<const ExpertShare> experts, const Rows& out);
    void launch(Stream stream, const Listed& product, int num_sms);
    GroupProblems list_at(std::byte* lists, int which) const;

    // A grouped product is prepared once for each place and number of experts: on the host that takes longer
    // than its launch.
    struct PreparedKey {
        const GroupGemm* gemm;
        int which, first, num_experts, num_sms;
        auto operator<=>(const PreparedKey&) const = default;
    };

    DenseGemm dense_;
    std::byte* workspace_;  // of a product
    std::byte* lists_;      // of grouped ones
    std::byte* host_lists_ = nullptr;
    std::array<int, kNumLists> num_listed_ = {};
    std::int64_t most_experts_;
    int device_sms_;
    std::map<PreparedKey, std::shared_ptr<void>> prepared_;
    std::vector<GroupProblem> list_;  // of the product at hand
};

}  // namespace eps::kernels::device
