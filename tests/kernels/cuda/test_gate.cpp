// The gate and the plain attention on the device, against their twins.
#include "tests/kernels/cuda/device_matrix.hpp"

#include <cmath>
#include <set>

using namespace eps;
using namespace eps::kernels;

namespace {

struct GateShape {
    std::int64_t experts, top_k, n_group, topk_group;
};
const std::vector<GateShape> kGates{{160, 6, 8, 3}, {64, 6, 1, 1}, {15, 4, 5, 3},   {16, 2, 1, 1},
                                    {8, 8, 1, 1},   {1, 1, 1, 1},  {512, 8, 16, 4}, {33, 32, 3, 3}};

}  // namespace

TEST_CASE("gate on the device chooses what its twin chooses") {
    for (const DType dtype : {DType::f32, DType::bf16})
        for (const GateShape& shape : kGates)
            for (const bool norm : {false, true}) {
                INFO(name_of(dtype) << " " << shape.experts << " experts, top " << shape.top_k);
                const std::int64_t rows = 37, hidden = 96;
                const Matrix in = Matrix::normal(dtype, rows, hidden, 1);
                const Matrix weight = Matrix::normal(dtype, shape.experts, hidden, 2, 0, 0.3F);
                const GateArgs args{.top_k = shape.top_k,
                                    .n_group = shape.n_group,
                                    .topk_group = shape.topk_group,
                                    .norm_topk_prob = norm,
                                    .routed_scaling_factor = 16,
                                    .forced = false};
                const auto count = static_cast<std::size_t>(rows * shape.top_k);
                std::vector<std::int32_t> ids(count);
                std::vector<float> weights(count);
                twin.gate(in, weight, args, ids.data(), weights.data(), 1);

                const DeviceMatrix x(in), w(weight);
                const DeviceArray<float> logits(
                    std::vector<float>(static_cast<std::size_t>(rows * shape.experts)));
                const DeviceArray<std::int32_t> found_ids(std::vector<std::int32_t>(count, -7));
                const DeviceArray<float> found(std::vector<float>(count, -7));
                device::gate_logits(nullptr, x, w, logits.get());
                device::gate_choice(nullptr, logits.get(), rows, shape.experts, args, found_ids.get(),
                                    found.get());
                CHECK(found_ids.host() == ids);
                const std::vector<float> got = found.host();
                for (std::size_t i = 0; i < count; ++i) REQUIRE(got[i] == Approx(weights[i]).epsilon(2e-5));

                GateArgs forced = args;
                forced.forced = true;
                std::vector<std::int32_t> given;  // the chosen of the row before: distinct, in another order
                for (std::size_t i = 0; i < count; ++i)
                    given.push_back(ids[(i + static_cast<std::size_t>(shape.top_k)) % count]);
                std::vector<std::int32_t> expected_ids = given;
                twin.gate(in, weight, forced, expected_ids.data(), weights.data(), 1);
                const DeviceArray<std::int32_t> given_ids(given);
                device::gate_choice(nullptr, logits.get(), rows, shape.experts, forced, given_ids.get(),
                                    found.get());
                CHECK(given_ids.host() == expected_ids);
                const std::vector<float> got_forced = found.host();
                for (std::size_t i = 0; i < count; ++i)
                    REQUIRE(got_forced[i] == Approx(weights[i]).epsilon(2e-5));
            }
}

TEST_CASE("gate on the device: ties go to the lower number, what is no number comes last") {
    const std::vector<float> logits{1,   1,   1,   1,   NAN, 1,   1,   1,  //
                                    0,   5,   5,   2,   5,   2,   2,   5,  //
                                    NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN};
    const GateArgs args{.top_k = 4, .n_group = 1, .topk_group = 1};
    const DeviceArray<float> on_device(logits);
    const DeviceArray<std::int32_t> ids(std::vector<std::int32_t>(12, -1));
    const DeviceArray<float> weights(std::vector<float>(12));
    device::gate_choice(nullptr, on_device.get(), 3, 8, args, ids.get(), weights.get());
    const std::vector<std::int32_t> found = ids.host();
    CHECK(std::vector<std::int32_t>(found.begin() + 4, found.begin() + 8) ==
          std::vector<std::int32_t>{1, 2, 4, 7});
    CHECK(std::vector<std::int32_t>(found.begin() + 8, found.end()) == std::vector<std::int32_t>{0, 1, 2, 3});
}

TEST_CASE("attention on the device is its twin's") {
    for (const DType dtype : {DType::f32, DType::bf16})
        for (const std::int64_t heads : {1, 3})
            for (const auto& starts : {std::vector<std::int64_t>{0, 1}, {0, 24, 48}, {0, 5, 5, 70, 71}}) {
                const AttentionArgs args{
                    .num_heads = heads, .nope_dim = 16, .rope_dim = 8, .v_dim = 12, .scale = 0.2};
                const std::int64_t rows = starts.back();
                const Matrix q = Matrix::normal(dtype, rows, heads * 24, 1);
                const Matrix kv = Matrix::normal(dtype, rows, heads * 28, 2);
                const Matrix k_rope = Matrix::normal(dtype, rows, 8, 3, 4);
                const Matrix expected(dtype, rows, heads * 12);
                twin.attention(q, kv, k_rope, starts, args, expected, 1);
                const DeviceMatrix dq(q), dkv(kv), dk(k_rope), out(Matrix(dtype, rows, heads * 12));
                const DeviceArray<std::int64_t> where(starts);
                device::attention(nullptr, dq, dkv, dk, where.get(), std::ssize(starts) - 1, rows, args, out);
                CHECK(excess_error(out.host(), expected, dtype == DType::bf16 ? 1 : 0) <
                      (dtype == DType::bf16 ? 2e-3 : 3e-6));
            }
}
