// linear and expert_gemm on oneDNN. What oneDNN wants dense and in its own dtype is copied on the way, where
// it is not.
#include "kernels/cpu/aligned_buffer.hpp"
#include "kernels/cpu/onednn_matmul.hpp"
#include "kernels/cpu/ops.hpp"
#include "kernels/cpu/parallel.hpp"
#include "kernels/cpu/simd.hpp"
#include "kernels/require.hpp"

#include <algorithm>
#include <vector>

namespace eps::kernels::cpu {
namespace {

class PackedWeight : public GemmWeight {
  public:
    PackedWeight(DType dtype, std::int64_t n, std::int64_t k, std::unique_ptr<PackedMatrix> matrix)
        : dtype_(dtype), n_(n), k_(k), matrix_(std::move(matrix)) {}
    std::int64_t n() const override { return n_; }
    std::int64_t k() const override { return k_; }
    std::int64_t bytes() const override { return matrix_ ? matrix_->bytes() : 0; }
    DType dtype() const { return dtype_; }
    const PackedMatrix& matrix() const { return *matrix_; }

  private:
    DType dtype_;
    std::int64_t n_;
    std::int64_t k_;
    std::unique_ptr<PackedMatrix> matrix_;  // null where n or k is 0
};

const PackedWeight& packed(const GemmWeight& weight) {
    const auto* own = dynamic_cast<const PackedWeight*>(&weight);
    if (own == nullptr)
        throw Error(Exit::internal, "linear: the weight was packed by another table of kernels");
    return *own;
}

template <typename From, typename To>
void convert_rows(Rows from, Rows to, std::int64_t begin, std::int64_t end) {
    vectorised([=]() EPS_INLINE {
        for (std::int64_t row = begin; row < end; ++row) {
            const From* x = from.row<From>(row);
            To* y = to.row<To>(row);
#pragma omp simd
            for (std::int64_t c = 0; c < from.num_cols; ++c) store(y + c, load(x + c));
        }
    });
}

/// to = from, with the rounding that the dtype of `to` asks for.
void convert(Rows from, Rows to, int threads) {
    const std::int64_t row_bytes = from.num_cols * (bytes_of(from.dtype) + bytes_of(to.dtype));
    for_row_blocks(from.num_rows, row_bytes, threads, [&](std::int64_t begin, std::int64_t end) {
        with_float_type(from.dtype, [&]<typename From>() {
            with_float_type(to.dtype, [&]<typename To>() { convert_rows<From, To>(from, to, begin, end); });
        });
    });
}

bool is_dense(const Rows& x) {
    return x.stride == x.num_cols || x.num_rows <= 1;
}

Rows dense_room(AlignedBuffer& buffer, DType dtype, std::int64_t num_rows, std::int64_t num_cols) {
    auto* data = buffer.room_for<std::byte>(num_rows * num_cols * bytes_of(dtype));
    return {data, dtype, num_rows, num_cols, num_cols};
}

/// k = 0: nothing to add up but the bias.
void fill_with_bias(const Rows* bias, Rows out) {
    with_float_type(out.dtype, [&]<typename T>() {
        for (std::int64_t row = 0; row < out.num_rows; ++row) {
            for (std::int64_t c = 0; c < out.num_cols; ++c) {
                out.row<T>(row)[c] = bias == nullptr ? T{} : bias->row<T>(0)[c];
            }
        }
    });
}

/// oneDNN takes the bias in f32, whatever the GEMM's dtype.
const float* widened_bias(const Rows* bias, AlignedBuffer& room) {
    if (bias == nullptr) return nullptr;
    const Rows wide = dense_room(room, DType::f32, 1, bias->num_cols);
    convert(*bias, wide, 1);
    return wide.row<float>(0);
}

}  // namespace

std::string describe_gemm(DType dtype) {
    const DType computed = gemm_dtype(dtype);
    const std::string name = matmul_implementation(computed);
    return computed == dtype ? name : name + " (bf16 widened to f32: this machine does not multiply bf16)";
}

std::int64_t packed_bytes(DType dtype, std::int64_t n, std::int64_t k) {
    return n == 0 || k == 0 ? 0 : packed_matrix_bytes(gemm_dtype(dtype), n, k);
}

std::unique_ptr<GemmWeight> pack(Rows weight) {
    const std::int64_t n = weight.num_rows;
    const std::int64_t k = weight.num_cols;
    if (n == 0 || k == 0) return std::make_unique<PackedWeight>(weight.dtype, n, k, nullptr);
    const DType computed = gemm_dtype(weight.dtype);
    AlignedBuffer room;
    Rows plain = weight;
    if (computed != weight.dtype || !is_dense(weight)) {
        plain = dense_room(room, computed, n, k);
        convert(weight, plain, 1);
    }
    return std::make_unique<PackedWeight>(weight.dtype, n, k, pack_matrix(computed, n, k, plain.data));
}

void linear(Rows in, const GemmWeight& weight, const Rows* bias, Rows out, int threads) {
    const PackedWeight& w = packed(weight);
    require(in.num_rows == out.num_rows && in.num_cols == w.k() && out.num_cols == w.n(), "linear",
            "in [m, k], out [m, n]", in, out);
    require(in.dtype == out.dtype && in.dtype == w.dtype(), "linear", "one dtype", in, out);
    if (bias != nullptr) {
        require(same_dtype(*bias, out) && bias->num_cols == out.num_cols, "linear", "bias [1, n]", *bias,
                out);
    }
    if (out.num_rows == 0 || out.num_cols == 0) return;
    if (w.k() == 0) return fill_with_bias(bias, out);

    thread_local AlignedBuffer in_room;
    thread_local AlignedBuffer out_room;
    thread_local AlignedBuffer bias_room;
    const DType computed = gemm_dtype(in.dtype);
    const bool copy_in = computed != in.dtype || !is_dense(in);
    const bool copy_out = computed != out.dtype || !is_dense(out);
    const Rows a = copy_in ? dense_room(in_room, computed, in.num_rows, in.num_cols) : in;
    const Rows c = copy_out ? dense_room(out_room, computed, out.num_rows, out.num_cols) : out;
    if (copy_in) convert(in, a, threads);
    matmul({.m = in.num_rows,
            .n = w.n(),
            .k = w.k(),
            .dtype = computed,
            .has_bias = bias != nullptr,
            .threads = threads},
           a.data, w.matrix(), widened_bias(bias, bias_room), c.data);
    if (copy_out) convert(c, out, threads);
}

void expert_gemm(Rows in, std::span<const ExpertRows> experts, GemmKind kind, Rows out, int threads) {
    std::vector<const ExpertRows*> busy;
    for (const ExpertRows& expert : experts) {
        if (!expert.rows.empty()) busy.push_back(&expert);
    }
    const auto run = [&](const ExpertRows& expert, int threads_each) {
        linear(in.slice(expert.rows.begin, expert.rows.end), *expert.weight, nullptr,
               out.slice(expert.rows.begin, expert.rows.end), threads_each);
    };
    if (kind == GemmKind::dense) {
        for (const ExpertRows* expert : busy) run(*expert, threads);
        return;
    }
    // The longest first: the end of the chunk is where threads run out of experts.
    std::stable_sort(busy.begin(), busy.end(),
                     [](const auto* a, const auto* b) { return a->rows.size() > b->rows.size(); });
    const auto num_busy = static_cast<std::int64_t>(busy.size());
    const int team = static_cast<int>(std::min<std::int64_t>(num_busy, threads));
    for_tasks(num_busy, team, [&](std::int64_t i) { run(*busy[static_cast<std::size_t>(i)], 1); });
}

}  // namespace eps::kernels::cpu
