// The twins against values computed by hand.
#include "tests/catch.hpp"
#include "tests/kernels/matrix.hpp"

#include <cmath>

using namespace eps;
using namespace eps::kernels;

TEST_CASE("reference linear: x W^T + bias") {
    const DType dtype = GENERATE(DType::f32, DType::bf16);
    const Matrix x = Matrix::of(dtype, 3, {1, 2, 3, -1, 0, 2});
    const Matrix w = Matrix::of(dtype, 3, {1, 0, 1, 2, -1, 0.5F});
    const Matrix bias = Matrix::of(dtype, 2, {10, -0.5F});
    const Matrix y(dtype, 2, 2);
    const auto packed = twin.pack(w);
    REQUIRE(packed->n() == 2);
    REQUIRE(packed->k() == 3);
    REQUIRE(packed->bytes() == twin.packed_bytes(dtype, 2, 3));
    twin.linear(x, *packed, nullptr, y, 1);
    REQUIRE(y.at(0, 0) == 4);
    REQUIRE(y.at(0, 1) == 1.5F);
    REQUIRE(y.at(1, 0) == 1);
    REQUIRE(y.at(1, 1) == -1);
    const Rows bias_rows = bias;
    twin.linear(x, *packed, &bias_rows, y, 1);
    REQUIRE(y.at(0, 0) == 14);
    REQUIRE(y.at(1, 1) == -1.5F);
}

TEST_CASE("reference linear: bf16 rounds once, to nearest even, after the bias") {
    // 256 + 1 + 1: rounding after each step would stay at 256, since bf16 has 8 bits.
    const Matrix x = Matrix::of(DType::bf16, 2, {256, 1});
    const Matrix w = Matrix::of(DType::bf16, 2, {1, 1});
    const Matrix bias = Matrix::of(DType::bf16, 1, {1});
    const Rows bias_rows = bias;
    const Matrix y(DType::bf16, 1, 1);
    twin.linear(x, *twin.pack(w), &bias_rows, y, 1);
    REQUIRE(y.at(0, 0) == 258);
}

TEST_CASE("reference expert_gemm: each expert its rows") {
    const Matrix x = Matrix::of(DType::f32, 1, {1, 2, 3});
    const auto twice = twin.pack(Matrix::of(DType::f32, 1, {2}));
    const auto tenfold = twin.pack(Matrix::of(DType::f32, 1, {10}));
    const std::vector<ExpertRows> experts{
        {twice.get(), {0, 1}}, {twice.get(), {1, 1}}, {tenfold.get(), {1, 3}}};
    const Matrix y(DType::f32, 3, 1);
    twin.expert_gemm(x, experts, GemmKind::group, y, 1);
    REQUIRE(y.at(0, 0) == 2);
    REQUIRE(y.at(1, 0) == 20);
    REQUIRE(y.at(2, 0) == 30);
}

TEST_CASE("reference rms_norm") {
    const Matrix x = Matrix::of(DType::f32, 2, {3, 4});
    const Matrix w = Matrix::of(DType::f32, 2, {1, 2});
    const Matrix y(DType::f32, 1, 2);
    twin.rms_norm(x, w, 0.5, y, 1);  // mean of squares 12.5, + 0.5: root of 13
    REQUIRE(y.at(0, 0) == Approx(3 / std::sqrt(13.0)).epsilon(1e-6));
    REQUIRE(y.at(0, 1) == Approx(8 / std::sqrt(13.0)).epsilon(1e-6));
}

TEST_CASE("reference rms_norm: bf16 rounds before the product with the weight") {
    const Matrix x = Matrix::of(DType::bf16, 2, {1, 5});
    const Matrix w = Matrix::of(DType::bf16, 2, {3, 3});
    const Matrix y(DType::bf16, 1, 2);
    twin.rms_norm(x, w, 0, y, 1);  // 5 / root of 13 = 1.38675, rounded 1.390625; three times that 4.171875
    REQUIRE(y.at(0, 1) == 4.1875F);
    REQUIRE(rounded_to(DType::bf16, 15 / std::sqrt(13.0F)) == 4.15625F);
}

TEST_CASE("reference rope: interleaved pairs, position times frequency, factor on cos and sin") {
    const RopeTable table{{std::acos(-1.0) / 2, std::acos(-1.0) / 6}, 2};
    // One head at columns 1..4 of 6; the rest stays.
    const Matrix x = Matrix::of(DType::f32, 6, {9, 1, 2, 3, 4, 9});
    const std::vector<std::int32_t> positions{1};
    twin.rope(x, positions, table, 1, 6, 1, 1);
    REQUIRE(x.at(0, 0) == 9);
    REQUIRE(x.at(0, 5) == 9);
    REQUIRE(x.at(0, 1) == Approx(-4));  // quarter turn: (1, 2) -> (-2, 1), times 2
    REQUIRE(x.at(0, 2) == Approx(2));
    REQUIRE(x.at(0, 3) == Approx(2 * (3 * std::sqrt(0.75) - 4 * 0.5)));
    REQUIRE(x.at(0, 4) == Approx(2 * (3 * 0.5 + 4 * std::sqrt(0.75))));
}

TEST_CASE("reference attention: two rows, two heads, one sequence beside another") {
    const AttentionArgs args{.num_heads = 2, .nope_dim = 1, .rope_dim = 1, .v_dim = 1, .scale = 0.5};
    const Matrix q = Matrix::of(DType::f32, 4, {5, 5, 5, 5, 1, 2, 3, 4, 7, 7, 7, 7});
    const Matrix kv = Matrix::of(DType::f32, 4, {1, 10, 2, 20, 3, 30, 4, 40, 9, 90, 9, 91});
    const Matrix k_rope = Matrix::of(DType::f32, 1, {1, -1, 5});
    const Matrix out(DType::f32, 3, 2);
    const std::vector<std::int64_t> starts{0, 2, 3};
    twin.attention(q, kv, k_rope, starts, args, out, 1);
    REQUIRE(out.at(0, 0) == 10);  // a first row sees itself only
    REQUIRE(out.at(0, 1) == 20);
    REQUIRE(out.at(2, 0) == 90);
    REQUIRE(out.at(2, 1) == 91);
    // Row 1, head 0: scores (1*1 + 2*1)/2 = 1.5 and (1*3 - 2*1)/2 = 0.5.
    const double p0 = 1 / (1 + std::exp(-1.0));
    REQUIRE(out.at(1, 0) == Approx(10 * p0 + 30 * (1 - p0)));
    // Head 1: (3*2 + 4)/2 = 5 and (3*4 - 4)/2 = 4.
    REQUIRE(out.at(1, 1) == Approx(20 * p0 + 40 * (1 - p0)));
}

TEST_CASE("reference gate: softmax, order, scaling") {
    const Matrix x = Matrix::of(DType::f32, 1, {1});
    const auto log = [](double p) { return static_cast<float>(std::log(p)); };
    const Matrix w = Matrix::of(DType::f32, 1, {log(0.1), log(0.4), log(0.3), log(0.2)});
    std::vector<std::int32_t> ids(2);
    std::vector<float> weights(2);
    GateArgs args{.top_k = 2, .routed_scaling_factor = 10};
    twin.gate(x, w, args, ids.data(), weights.data(), 1);
    REQUIRE(ids == std::vector<std::int32_t>{1, 2});
    REQUIRE(weights[0] == Approx(4));
    REQUIRE(weights[1] == Approx(3));

    SECTION("norm_topk_prob divides and does not scale") {
        args.norm_topk_prob = true;
        twin.gate(x, w, args, ids.data(), weights.data(), 1);
        REQUIRE(weights[0] == Approx(0.4 / 0.7));
        REQUIRE(weights[1] == Approx(0.3 / 0.7));
    }
    SECTION("norm_topk_prob with one expert scales") {
        args.norm_topk_prob = true;
        args.top_k = 1;
        twin.gate(x, w, args, ids.data(), weights.data(), 1);
        REQUIRE(weights[0] == Approx(4));
    }
    SECTION("groups: the best expert speaks for its group") {
        args.n_group =
            2;  // groups {0, 1} and {2, 3}: 0.4 beats 0.3, although 0.3 + 0.2 is as much as 0.1 + 0.4
        args.topk_group = 1;
        twin.gate(x, w, args, ids.data(), weights.data(), 1);
        REQUIRE(ids == std::vector<std::int32_t>{1, 0});
        REQUIRE(weights[1] == Approx(1));
    }
    SECTION("forced ids get their scores, in order") {
        args.forced = true;
        args.n_group = 2;
        args.topk_group = 1;
        ids = {3, 2};
        twin.gate(x, w, args, ids.data(), weights.data(), 1);
        REQUIRE(ids == std::vector<std::int32_t>{2, 3});
        REQUIRE(weights[0] == Approx(3));
        REQUIRE(weights[1] == Approx(2));
    }
}

TEST_CASE("reference swiglu") {
    const Matrix x = Matrix::of(DType::f32, 4, {0, 2, 5, 3});
    const Matrix y(DType::f32, 1, 2);
    twin.swiglu(x, y, 1);
    REQUIRE(y.at(0, 0) == 0);
    REQUIRE(y.at(0, 1) == Approx(3 * 2 / (1 + std::exp(-2.0))));
}

TEST_CASE("reference embed, pack_rows") {
    const Matrix table = Matrix::of(DType::bf16, 2, {1, 2, 3, 4, 5, 6});
    const Matrix out(DType::bf16, 2, 2);
    const std::vector<std::int32_t> ids{2, 0};
    twin.embed(ids, table, out, 1);
    REQUIRE(same_bits(out, Matrix::of(DType::bf16, 2, {5, 6, 1, 2})));
    twin.pack_rows(table, std::vector<std::int32_t>{1, 1}, out, 1);
    REQUIRE(same_bits(out, Matrix::of(DType::bf16, 2, {3, 4, 3, 4})));
}

TEST_CASE("reference local_reduce, unpack_sum, sum_rows: order and one rounding") {
    const Matrix rows = Matrix::of(DType::bf16, 1, {256, 1, 1, -256});
    const Matrix out(DType::bf16, 2, 1);
    const std::vector<std::int32_t> starts{0, 3, 3};
    const std::vector<std::int32_t> index{0, 1, 2};
    twin.local_reduce(rows, starts, index, std::vector<float>{1, 2, 4}, out, 1);
    REQUIRE(out.at(0, 0) == 262);  // 256 + 2 + 4, rounded once
    REQUIRE(out.at(1, 0) == 0);

    const Matrix shared = Matrix::of(DType::bf16, 1, {-256, 7});
    const Matrix residual = Matrix::of(DType::bf16, 1, {0.5F, 0.25F});
    const Rows shared_rows = shared;
    const Rows residual_rows = residual;
    twin.unpack_sum(rows, starts, index, &shared_rows, &residual_rows, out, 1);
    REQUIRE(out.at(0, 0) == 2.5F);
    REQUIRE(out.at(1, 0) == 7.25F);
    twin.unpack_sum(rows, starts, index, nullptr, &residual_rows, residual, 1);  // in place
    REQUIRE(residual.at(0, 0) == 258);                                           // 258.5 rounded

    const Matrix big = Matrix::of(DType::f32, 1, {1e8F});
    const Matrix one = Matrix::of(DType::f32, 1, {1});
    const Matrix minus = Matrix::of(DType::f32, 1, {-1e8F});
    const Matrix sum(DType::f32, 1, 1);
    twin.sum_rows(std::vector<Rows>{big, minus, one}, sum, 1);
    REQUIRE(sum.at(0, 0) == 1);
    twin.sum_rows(std::vector<Rows>{big, one, minus}, sum, 1);  // f32, in this order: the one is lost
    REQUIRE(sum.at(0, 0) == 0);
}
