// Twin of linear and expert_gemm: three loops.
#include "kernels/element.hpp"
#include "kernels/reference_ops.hpp"
#include "kernels/require.hpp"

#include <vector>

namespace eps::kernels::reference {
namespace {

/// Plain rows [n][k], widened to f32 (every bf16 is a float).
class PlainWeight : public GemmWeight {
  public:
    explicit PlainWeight(const Rows& weight)
        : n_(weight.num_rows), k_(weight.num_cols), dtype_(weight.dtype) {
        for (std::int64_t i = 0; i < n_; ++i) rows_.push_back(row_values(weight, i));
    }
    std::int64_t n() const override { return n_; }
    std::int64_t k() const override { return k_; }
    std::int64_t bytes() const override { return packed_bytes(dtype_, n_, k_); }
    DType dtype() const { return dtype_; }
    const std::vector<float>& row(std::int64_t i) const { return rows_[static_cast<std::size_t>(i)]; }

  private:
    std::int64_t n_;
    std::int64_t k_;
    DType dtype_;
    std::vector<std::vector<float>> rows_;
};

}  // namespace

std::string describe_gemm(DType) {
    return "plain loops";
}

std::int64_t packed_bytes(DType dtype, std::int64_t n, std::int64_t k) {
    return n * k * bytes_of(dtype);
}

std::unique_ptr<GemmWeight> pack(Rows weight) {
    return std::make_unique<PlainWeight>(weight);
}

void linear(Rows in, const GemmWeight& weight, const Rows* bias, Rows out, int) {
    const auto& plain = dynamic_cast<const PlainWeight&>(weight);
    require(in.num_rows == out.num_rows && in.num_cols == plain.k() && out.num_cols == plain.n(), "linear",
            "in [m, k], out [m, n]", in, out);
    require(in.dtype == out.dtype && in.dtype == plain.dtype(), "linear", "one dtype", in, out);
    for (std::int64_t row = 0; row < in.num_rows; ++row) {
        const std::vector<float> x = row_values(in, row);
        for (std::int64_t col = 0; col < plain.n(); ++col) {
            const std::vector<float>& w = plain.row(col);
            float sum = 0;
            for (std::size_t i = 0; i < x.size(); ++i) sum += x[i] * w[i];
            if (bias != nullptr) sum += get(*bias, 0, col);
            set(out, row, col, sum);
        }
    }
}

void expert_gemm(Rows in, std::span<const ExpertRows> experts, GemmKind, Rows out, int) {
    for (const ExpertRows& expert : experts) {
        linear(in.slice(expert.rows.begin, expert.rows.end), *expert.weight, nullptr,
               out.slice(expert.rows.begin, expert.rows.end), 1);
    }
}

}  // namespace eps::kernels::reference
