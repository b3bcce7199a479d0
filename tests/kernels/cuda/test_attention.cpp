// Attention on the device, fused and plain, against its twin.
#include "kernels/cuda/attention.hpp"
#include "tests/kernels/cuda/device_matrix.hpp"
#include "tests/kernels/cuda/device_rows.hpp"

using namespace eps;
using namespace eps::kernels;

namespace {

struct Geometry {
    std::int64_t nope, rope, v;
};

std::int64_t key_dim(const AttentionArgs& args) {
    return args.nope_dim + args.rope_dim;
}

void check_against_twin(DType dtype, const AttentionArgs& args, const std::vector<std::int64_t>& starts,
                        bool fused) {
    const std::int64_t rows = starts.back();
    const Matrix q = Matrix::normal(dtype, rows, args.num_heads * key_dim(args), 1);
    const Matrix kv = Matrix::normal(dtype, rows, args.num_heads * (args.nope_dim + args.v_dim), 2);
    const Matrix kv_a =
        Matrix::normal(dtype, rows, 16 + args.rope_dim, 3);  // the latents, then the shared part
    const Matrix expected(dtype, rows, args.num_heads * args.v_dim);
    twin.attention(q, kv, kv_a.rows().columns(16, args.rope_dim), starts, args, expected, 1);

    device::Attention attention(args, dtype);
    const DeviceBytes scratch(attention.prepare(starts));
    const DeviceMatrix dq(q), dkv(kv), dk(kv_a), out(Matrix(dtype, rows, args.num_heads * args.v_dim));
    attention.run(nullptr, dq, dkv, dk.rows().columns(16, args.rope_dim), starts, out, scratch.get());
    must(cudaDeviceSynchronize());
    INFO(attention.describe() << ", " << name_of(dtype) << " " << args.num_heads << " heads " << args.nope_dim
                              << "+" << args.rope_dim << "/" << args.v_dim << ", " << starts.size() - 1
                              << " sequences, " << rows << " rows");
    CHECK((attention.describe().rfind("cuDNN", 0) == 0) == fused);
    CHECK(excess_error(out.host(), expected, dtype == DType::bf16 ? 1 : 0) <
          (dtype == DType::bf16 ? 3e-3 : 3e-6));
}

}  // namespace

TEST_CASE("fused attention on the device is its twin's") {
    const std::vector<std::vector<std::int64_t>> sequences{
        {0, 1}, {0, 24, 48}, {0, 128}, {0, 128, 256, 384}, {0, 1, 2, 130, 261}, {0, 5, 5, 70, 71}, {0, 300}};
    for (const Geometry& dims : {Geometry{128, 64, 128}, Geometry{64, 32, 64}, Geometry{16, 8, 24}})
        for (const std::int64_t heads : {1, 3})
            for (const auto& starts : sequences) {
                const AttentionArgs args{.num_heads = heads,
                                         .nope_dim = dims.nope,
                                         .rope_dim = dims.rope,
                                         .v_dim = dims.v,
                                         .scale = 0.1};
                check_against_twin(DType::bf16, args, starts, true);
            }
}

TEST_CASE("attention on the device: dtypes and dimensions without a fused kernel") {
    for (const DType dtype : {DType::f32, DType::bf16})
        for (const auto& starts : {std::vector<std::int64_t>{0, 1}, {0, 24, 48}, {0, 5, 5, 70, 71}})
            check_against_twin(dtype,
                               {.num_heads = 3, .nope_dim = 10, .rope_dim = 6, .v_dim = 9, .scale = 0.2},
                               starts, false);
    check_against_twin(DType::f32,
                       {.num_heads = 2, .nope_dim = 128, .rope_dim = 64, .v_dim = 128, .scale = 0.1},
                       {0, 40, 41}, false);
}

TEST_CASE("attention on the device: no rows, no heads") {
    const AttentionArgs args{.num_heads = 2, .nope_dim = 16, .rope_dim = 8, .v_dim = 24, .scale = 0.1};
    const std::vector<std::int64_t> none{0}, empty{0, 0, 0};
    for (const auto& starts : {none, empty}) {
        device::Attention attention(args, DType::bf16);
        const DeviceBytes scratch(attention.prepare(starts));
        const DeviceMatrix q(Matrix(DType::bf16, 0, 48)), kv(Matrix(DType::bf16, 0, 80)),
            k(Matrix(DType::bf16, 0, 8)), out(Matrix(DType::bf16, 0, 48));
        attention.run(nullptr, q, kv, k, starts, out, scratch.get());
    }
    device::Attention headless({.num_heads = 0, .nope_dim = 16, .rope_dim = 8, .v_dim = 24, .scale = 0.1},
                               DType::bf16);
    const DeviceBytes scratch(headless.prepare(std::vector<std::int64_t>{0, 4}));
    const DeviceMatrix nothing(Matrix(DType::bf16, 4, 0)), k(Matrix(DType::bf16, 4, 8));
    headless.run(nullptr, nothing, nothing, k, std::vector<std::int64_t>{0, 4}, nothing, scratch.get());
    must(cudaDeviceSynchronize());
    SUCCEED("no launch failed");
}

TEST_CASE("fused attention is the plain kernel's at real sizes and lengths", "[long]") {
    const AttentionArgs args{
        .num_heads = 128, .nope_dim = 128, .rope_dim = 64, .v_dim = 128, .scale = 0.1147};
    for (const auto& starts : {std::vector<std::int64_t>{0, 1024, 2048}, {0, 1, 1025, 1800, 3900}}) {
        const std::int64_t rows = starts.back();
        const DeviceRows q(DType::bf16, rows, 128 * 192, 1), kv(DType::bf16, rows, 128 * 256, 2),
            kv_a(DType::bf16, rows, 576, 3), out(DType::bf16, rows, 128 * 128, 4),
            plain(DType::bf16, rows, 128 * 128, 5);
        const Rows k_rope = kv_a.rows().columns(512, 64);
        device::Attention attention(args, DType::bf16);
        const DeviceBytes scratch(attention.prepare(starts));
        attention.run(nullptr, q, kv, k_rope, starts, out, scratch.get());
        const DeviceArray<std::int64_t> where(starts);
        device::attention(nullptr, q, kv, k_rope, where.get(), std::ssize(starts) - 1, rows, args, plain);
        const std::vector<std::byte> found = out.host(), expected = plain.host();
        Rows a = out.rows(), b = plain.rows();
        a.data = const_cast<std::byte*>(found.data());
        b.data = const_cast<std::byte*>(expected.data());
        INFO(attention.describe() << ", " << starts.size() - 1 << " sequences");
        CHECK(excess_error(a, b, 1) < 3e-3);
    }
}
