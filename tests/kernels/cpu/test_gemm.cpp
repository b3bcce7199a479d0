// linear and expert_gemm: fast against twin, and what their bits may depend on.
#include "kernels/cpu/onednn_matmul.hpp"
#include "tests/catch.hpp"
#include "tests/kernels/cpu/fast_and_twin.hpp"

#include <thread>

using namespace eps;
using namespace eps::kernels;

namespace {

/// f32 sums of k products in another order; bf16 outputs may round apart by one.
constexpr double kSumError = 3e-5;

void compare_linear(DType dtype, std::int64_t m, std::int64_t n, std::int64_t k, bool with_bias,
                    std::int64_t gap, int threads) {
    INFO(name_of(dtype) << " m " << m << " n " << n << " k " << k << " bias " << with_bias << " gap " << gap
                        << " threads " << threads);
    const Matrix in = Matrix::normal(dtype, m, k, 1, gap);
    const Matrix weight = Matrix::normal(dtype, n, k, 2, gap);
    const Matrix bias = Matrix::normal(dtype, 1, n, 3);
    const Rows bias_rows = bias;
    const Matrix out(dtype, m, n, gap);
    const Matrix expected(dtype, m, n, gap);
    const auto packed = fast.pack(weight);
    REQUIRE(packed->n() == n);
    REQUIRE(packed->k() == k);
    REQUIRE(packed->bytes() == fast.packed_bytes(dtype, n, k));
    fast.linear(in, *packed, with_bias ? &bias_rows : nullptr, out, threads);
    twin.linear(in, *twin.pack(weight), with_bias ? &bias_rows : nullptr, expected, 1);
    REQUIRE(excess_error(out, expected, dtype == DType::bf16 ? 1 : 0) < kSumError);
    for (std::int64_t r = 0; r + 1 < m; ++r) {
        for (std::int64_t c = n; c < n + gap; ++c)
            REQUIRE(get({out.rows().data, dtype, m, n + gap, n + gap}, r, c) == 0);
    }
}

/// Outputs of `experts` with `rows_each` rows each; random operands.
struct Chunk {
    DType dtype;
    std::int64_t n;
    std::int64_t k;
    std::vector<std::int64_t> rows_each;
    std::vector<std::unique_ptr<GemmWeight>> weights;
    std::vector<std::unique_ptr<GemmWeight>> twin_weights;
    std::vector<Range> rows;
    Matrix in;

    Chunk(DType type, std::int64_t num_cols, std::int64_t depth, std::vector<std::int64_t> counts)
        : dtype(type), n(num_cols), k(depth), rows_each(std::move(counts)), in(make_rows()) {
        for (std::size_t e = 0; e < rows_each.size(); ++e) {
            const Matrix w = Matrix::normal(dtype, n, k, 100 + e);
            weights.push_back(fast.pack(w));
            twin_weights.push_back(twin.pack(w));
        }
    }
    Matrix make_rows() {
        std::int64_t m = 0;
        for (const std::int64_t count : rows_each) {
            rows.push_back({m, m + count});
            m += count;
        }
        return Matrix::normal(dtype, m, k, 5);
    }
    std::vector<ExpertRows> experts(bool of_twin = false) const {
        std::vector<ExpertRows> all;
        for (std::size_t e = 0; e < rows.size(); ++e) {
            all.push_back({of_twin ? twin_weights[e].get() : weights[e].get(), rows[e]});
        }
        return all;
    }
    Matrix run(const std::vector<ExpertRows>& experts, GemmKind kind, int threads) const {
        Matrix out(dtype, in.rows().num_rows, n);
        fast.expert_gemm(in, experts, kind, out, threads);
        return out;
    }
};

}  // namespace

TEST_CASE("linear: real shapes, fast against twin") {
    const DType dtype = GENERATE(DType::f32, DType::bf16);
    compare_linear(dtype, 3, 3072, 2048, false, 0, 2);   // V2-Lite q
    compare_linear(dtype, 24, 576, 2048, false, 0, 2);   // kv_a
    compare_linear(dtype, 17, 4096, 512, false, 0, 2);   // kv_b
    compare_linear(dtype, 33, 2816, 2048, false, 0, 2);  // an expert's gate | up
    compare_linear(dtype, 64, 2048, 1408, false, 0, 1);  // its down
    compare_linear(dtype, 5, 2048, 10944, false, 0, 2);  // dense down
    compare_linear(dtype, 2, 24576, 1536, false, 0, 2);  // V2 q_b
    compare_linear(dtype, 8, 5120, 1536, true, 0, 2);    // V2 down
    compare_linear(dtype, 128, 64, 64, false, 0, 2);     // tiny
    compare_linear(dtype, 48, 32, 24, true, 0, 1);
}

TEST_CASE("linear: odd shapes, bias, views with gaps") {
    const DType dtype = GENERATE(DType::f32, DType::bf16);
    for (const std::int64_t m : {1, 2, 19, 101}) {
        for (const std::int64_t n : {1, 19, 58, 101}) {
            for (const std::int64_t k : {1, 24, 58, 101}) {
                compare_linear(dtype, m, n, k, (m + n + k) % 2 == 0, (m + k) % 3 == 0 ? 5 : 0,
                               1 + static_cast<int>(n % 3));
            }
        }
    }
}

TEST_CASE("linear: nothing to do") {
    const DType dtype = GENERATE(DType::f32, DType::bf16);
    const Kernels& kernels = *GENERATE(&cpu_kernels(), &reference_kernels());
    const Matrix weight = Matrix::normal(dtype, 8, 16, 1);
    const Matrix none_in(dtype, 0, 16);
    const Matrix none_out(dtype, 0, 8);
    kernels.linear(none_in, *kernels.pack(weight), nullptr, none_out, 2);

    const auto no_rows = kernels.pack(Matrix(dtype, 0, 16));
    REQUIRE(no_rows->n() == 0);
    REQUIRE(no_rows->bytes() == 0);
    const Matrix in = Matrix::normal(dtype, 3, 16, 2);
    kernels.linear(in, *no_rows, nullptr, Matrix(dtype, 3, 0), 2);

    const auto no_cols = kernels.pack(Matrix(dtype, 8, 0));
    REQUIRE(no_cols->k() == 0);
    const Matrix out = Matrix::normal(dtype, 3, 8, 3);
    kernels.linear(Matrix(dtype, 3, 0), *no_cols, nullptr, out, 2);
    REQUIRE(same_bits(out, Matrix(dtype, 3, 8)));
    const Matrix bias = Matrix::normal(dtype, 1, 8, 4);
    const Rows bias_rows = bias;
    kernels.linear(Matrix(dtype, 3, 0), *no_cols, &bias_rows, out, 2);
    REQUIRE(same_bits(out.rows().slice(2, 3), bias));
}

TEST_CASE("linear: mistakes are named") {
    const auto packed = fast.pack(Matrix(DType::f32, 8, 16));
    REQUIRE_THROWS_WITH(fast.linear(Matrix(DType::f32, 3, 15), *packed, nullptr, Matrix(DType::f32, 3, 8), 1),
                        contains_text("f32 [3, 15]"));
    REQUIRE_THROWS_WITH(
        fast.linear(Matrix(DType::bf16, 3, 16), *packed, nullptr, Matrix(DType::bf16, 3, 8), 1),
        contains_text("one dtype"));
    REQUIRE_THROWS_WITH(fast.linear(Matrix(DType::f32, 3, 16), *twin.pack(Matrix(DType::f32, 8, 16)), nullptr,
                                    Matrix(DType::f32, 3, 8), 1),
                        contains_text("another table"));
}

TEST_CASE("linear: the packed layout serves every m, and a shape's bits repeat") {
    const DType dtype = GENERATE(DType::f32, DType::bf16);
    const Matrix weight = Matrix::normal(dtype, 96, 80, 1);
    const auto packed = fast.pack(weight);
    const auto twin_packed = twin.pack(weight);
    const Matrix in = Matrix::normal(dtype, 400, 80, 2);
    const Matrix expected(dtype, 400, 96);
    twin.linear(in, *twin_packed, nullptr, expected, 1);
    for (std::int64_t m = 1; m <= 400; m += 7) {
        const Matrix out(dtype, m, 96);
        fast.linear(in.rows().slice(0, m), *packed, nullptr, out, 2);
        INFO("m " << m);
        REQUIRE(excess_error(out, expected.rows().slice(0, m), dtype == DType::bf16 ? 1 : 0) < kSumError);
        const Matrix again(dtype, m, 96);
        fast.linear(in.rows().slice(0, m), *packed, nullptr, again, 2);
        REQUIRE(same_bits(out, again));
    }
}

TEST_CASE("linear: no m falls to oneDNN's plain loops") {
    const DType dtype = gemm_dtype(GENERATE(DType::f32, DType::bf16));
    const bool has_bias = GENERATE(false, true);
    const std::string usual = matmul_implementation(dtype);
    for (const auto& [n, k] :
         {std::pair<std::int64_t, std::int64_t>{2816, 2048}, {576, 2048}, {2048, 1408}, {4096, 512}}) {
        for (std::int64_t m = 1; m <= 512; m += (m < 20 ? 1 : 41)) {
            for (const int threads : {1, 2}) {
                const MatmulShape shape{m, n, k, dtype, has_bias, threads};
                INFO("m " << m << " n " << n << " k " << k << " threads " << threads);
                REQUIRE(matmul_implementation(shape) == usual);
            }
        }
    }
}

TEST_CASE("linear: a warm shape makes no primitive") {
    const auto packed = fast.pack(Matrix::normal(DType::f32, 40, 48, 1));
    const Matrix in = Matrix::normal(DType::f32, 29, 48, 2);
    const Matrix out(DType::f32, 29, 40);
    const std::int64_t before = num_primitives();
    fast.linear(in, *packed, nullptr, out, 1);
    REQUIRE(num_primitives() == before + 1);
    for (int i = 0; i < 3; ++i) fast.linear(in, *packed, nullptr, out, 1);
    REQUIRE(num_primitives() == before + 1);
    fast.linear(in, *packed, nullptr, out, 2);
    REQUIRE(num_primitives() == before + 2);
}

TEST_CASE("linear: several threads at once, shapes shared and not, get the bits that one gets") {
    constexpr int kThreads = 4;
    const DType dtype = GENERATE(DType::f32, DType::bf16);
    const auto packed = fast.pack(Matrix::normal(dtype, 72, 104, 1));
    const Matrix in = Matrix::normal(dtype, 64, 104, 2);
    std::vector<Matrix> together;
    std::vector<std::thread> workers;
    for (int t = 0; t < kThreads; ++t) together.emplace_back(dtype, 64, 72);
    for (int t = 0; t < kThreads; ++t) {
        workers.emplace_back([&, t] {
            for (int repetition = 0; repetition < 20; ++repetition) {
                for (std::int64_t m = 50 + t; m <= 64; ++m) {
                    fast.linear(in.rows().slice(0, m), *packed, nullptr,
                                together[static_cast<std::size_t>(t)].rows().slice(0, m), 1);
                }
            }
        });
    }
    for (std::thread& worker : workers) worker.join();
    const Matrix alone(dtype, 64, 72);
    fast.linear(in, *packed, nullptr, alone, 1);
    for (const Matrix& out : together) REQUIRE(same_bits(out, alone));
}

TEST_CASE("expert_gemm: uneven and empty experts, fast against twin") {
    const DType dtype = GENERATE(DType::f32, DType::bf16);
    const GemmKind kind = GENERATE(GemmKind::dense, GemmKind::group);
    const int threads = GENERATE(1, 2, 3);
    struct Shape {
        std::int64_t n;
        std::int64_t k;
        std::vector<std::int64_t> rows;
    };
    for (const Shape& shape : {Shape{1408, 1024, {0, 3, 1, 0, 9}},
                               {38, 24, {0, 19, 1, 0, 24, 101, 2, 0}},
                               {58, 101, {24, 0, 58}}}) {
        const Chunk chunk(dtype, shape.n, shape.k, shape.rows);
        const Matrix out = chunk.run(chunk.experts(), kind, threads);
        const Matrix expected(dtype, chunk.in.rows().num_rows, chunk.n);
        twin.expert_gemm(chunk.in, chunk.experts(true), kind, expected, 1);
        REQUIRE(excess_error(out, expected, dtype == DType::bf16 ? 1 : 0) < kSumError);
    }
}

TEST_CASE("expert_gemm: rows of no expert stay, no experts is nothing") {
    const Chunk chunk(DType::f32, 19, 24, {4, 5, 6});
    const GemmKind kind = GENERATE(GemmKind::dense, GemmKind::group);
    const Matrix nothing = chunk.run({}, kind, 2);
    REQUIRE(same_bits(nothing, Matrix(DType::f32, 15, 19)));
    const std::vector<ExpertRows> all = chunk.experts();
    const Matrix middle = chunk.run({all[1]}, kind, 2);
    REQUIRE(same_bits(middle.rows().slice(0, 4), Matrix(DType::f32, 4, 19)));
    REQUIRE(same_bits(middle.rows().slice(9, 15), Matrix(DType::f32, 6, 19)));
    REQUIRE_FALSE(same_bits(middle.rows().slice(4, 9), Matrix(DType::f32, 5, 19)));
}

TEST_CASE("expert_gemm: an expert's bits do not depend on the experts beside it") {
    const DType dtype = GENERATE(DType::f32, DType::bf16);
    const GemmKind kind = GENERATE(GemmKind::dense, GemmKind::group);
    const int threads = GENERATE(1, 2, 4);
    const Chunk chunk(dtype, 352, 256, {48, 1, 0, 130, 7, 48, 64, 3});
    const std::vector<ExpertRows> all = chunk.experts();
    const Matrix whole = chunk.run(all, kind, threads);
    for (const std::size_t num_chunks : {2, 3, 8}) {
        Matrix pieces(dtype, chunk.in.rows().num_rows, chunk.n);
        for (std::size_t c = 0; c < num_chunks; ++c) {
            const std::size_t begin = c * all.size() / num_chunks;
            const std::size_t end = (c + 1) * all.size() / num_chunks;
            fast.expert_gemm(chunk.in, std::span(all).subspan(begin, end - begin), kind, pieces, threads);
        }
        INFO(num_chunks << " chunks");
        REQUIRE(same_bits(pieces, whole));
    }
    const std::vector<ExpertRows> backwards(all.rbegin(), all.rend());
    REQUIRE(same_bits(chunk.run(backwards, kind, threads), whole));
    if (kind == GemmKind::dense) {
        const Matrix alone(dtype, 130, chunk.n);
        fast.linear(chunk.in.rows().slice(49, 179), *chunk.weights[3], nullptr, alone, threads);
        REQUIRE(same_bits(alone, whole.rows().slice(49, 179)));
    } else {
        REQUIRE(same_bits(chunk.run(all, kind, 1), whole));
    }
}

TEST_CASE("expert_gemm: a mistake inside a team arrives outside") {
    const Chunk chunk(DType::f32, 19, 24, {4, 5, 6});
    std::vector<ExpertRows> experts = chunk.experts();
    const auto foreign = fast.pack(Matrix(DType::f32, 18, 24));
    experts[1].weight = foreign.get();
    REQUIRE_THROWS_AS(chunk.run(experts, GemmKind::group, 2), Error);
}

TEST_CASE("describe_gemm names what runs") {
    REQUIRE_FALSE(fast.describe_gemm(DType::f32).empty());
    const bool widened = fast.describe_gemm(DType::bf16).find("widened") != std::string::npos;
    REQUIRE(widened == (gemm_dtype(DType::bf16) == DType::f32));
    REQUIRE(fast.name.find("oneDNN") == 0);
    REQUIRE(fast.packed_bytes(DType::f32, 2816, 2048) >= 2816 * 2048 * 4);
}
