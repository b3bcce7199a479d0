// DenseGemm: out = in weight^T by cuBLASLt, with an algorithm that depends on shapes and types only.
#pragma once

#include "kernels/cuda/kernels.hpp"

#include <cstddef>
#include <memory>
#include <span>
#include <string>

namespace eps::kernels::device {

/// Largest power of two up to 16 that divides the distance of rows in bytes: what the address of any row is a
/// multiple of, where that of the first row is.
std::int64_t row_alignment(const Rows& rows);

class DenseGemm {
  public:
    /// Device memory that a product may use.
    static constexpr std::int64_t kWorkspaceBytes = std::int64_t{32} << 20;

    /// For the current device.
    DenseGemm();
    ~DenseGemm();
    DenseGemm(const DenseGemm&) = delete;
    DenseGemm& operator=(const DenseGemm&) = delete;

    /// in [m, k], weight [n, k], bias null or [1, n], out [m, n]; f32 throughout or bf16 with out bf16 or
    /// f32; f32 sums (never TF32), one rounding. The algorithm is the library's first choice for (m, n, k,
    /// types, whether there is a bias, alignment of rows, num_sms) among those that do not split sums; it is
    /// looked up once. `num_sms`: how many multiprocessors to plan for (0: all); it changes tiles, never a
    /// bit. `workspace`: kWorkspaceBytes that nothing else uses meanwhile.
    void run(Stream stream, const Rows& in, const Rows& weight, const Rows* bias, const Rows& out,
             int num_sms, std::byte* workspace);

    /// The library, for reports: "cuBLASLt 13.1.0".
    static std::string describe();

  private:
    struct Algorithms;
    std::unique_ptr<Algorithms> algorithms_;
};

}  // namespace eps::kernels::device
