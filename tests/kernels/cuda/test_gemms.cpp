// The products on the device: against their twins, and the bits that must not change.
#include "kernels/cuda/gemms.hpp"
#include "kernels/cuda/group_gemm.hpp"
#include "kernels/cuda/interleaved.hpp"
#include "tests/kernels/cuda/device_matrix.hpp"
#include "tests/kernels/cuda/device_rows.hpp"

#include <cmath>
#include <optional>

using namespace eps;
using namespace eps::kernels;

namespace {

constexpr std::int64_t kMostExperts = 200;  // more than one launch lists

/// Products with room for them.
struct Products {
    DeviceBytes workspace{device::Gemms::workspace_bytes(kMostExperts)};
    device::Gemms gemms{workspace.get(), kMostExperts};
};

double bound(DType dtype) {
    return dtype == DType::bf16 ? 1e-4 : 1e-5;  // beyond one rounding to bf16: sums in another order
}

/// Weights [experts * n, k] of as many experts as there are counts; their rows follow each other.
struct Experts {
    std::vector<std::int64_t> counts;
    std::int64_t n, k;

    std::int64_t num_rows() const {
        std::int64_t sum = 0;
        for (const std::int64_t count : counts) sum += count;
        return sum;
    }
    std::vector<device::ExpertShare> shares(const Rows& weights) const {
        std::vector<device::ExpertShare> list;
        std::int64_t begin = 0, expert = 0;
        for (const std::int64_t count : counts) {
            list.push_back({weights.slice(expert * n, (expert + 1) * n).data, {begin, begin + count}});
            begin += count;
            ++expert;
        }
        return list;
    }
};

const std::vector<std::vector<std::int64_t>> kCounts{
    {1},
    {0, 0, 0},
    {0, 5, 0, 1, 0},
    {129, 0, 128, 127, 1},
    {3, 0, 17, 40, 0, 1, 130, 2, 9, 64, 0, 33, 5, 8, 300},  // 15 experts, uneven
};

float value(const std::vector<std::byte>& bytes, DType dtype, std::size_t i) {
    return dtype == DType::f32 ? reinterpret_cast<const float*>(bytes.data())[i]
                               : float(reinterpret_cast<const Bf16*>(bytes.data())[i]);
}

/// The product at sizes too large for the host: plain multiply-adds in f32.
std::vector<float> plain_product(const Rows& in, const Rows& weight) {
    const DeviceRows out(DType::f32, in.num_rows, weight.num_rows, 0);
    device::gate_logits(nullptr, in, weight, out.rows().row<float>(0));
    const std::vector<std::byte> bytes = out.host();
    const auto* floats = reinterpret_cast<const float*>(bytes.data());
    return {floats, floats + in.num_rows * weight.num_rows};
}

}  // namespace

TEST_CASE("linear on the device is its twin's", "[products]") {
    Products products;
    struct Shape {
        std::int64_t m, n, k;
    };
    for (const DType dtype : {DType::f32, DType::bf16})
        for (const Shape& s : std::vector<Shape>{{1, 1, 1},
                                                 {1, 7, 5},
                                                 {3, 16, 8},
                                                 {37, 33, 15},
                                                 {64, 128, 96},
                                                 {129, 257, 72},
                                                 {200, 40, 1000}})
            for (const std::int64_t gap : {0, 3, 8})
                for (const bool has_bias : {false, true}) {
                    INFO(name_of(dtype) << " " << s.m << " x " << s.n << " x " << s.k << " gap " << gap);
                    const Matrix in = Matrix::normal(dtype, s.m, s.k, 1, gap);
                    const Matrix weight = Matrix::normal(dtype, s.n, s.k, 2);
                    const Matrix bias = Matrix::normal(dtype, 1, s.n, 3);
                    const Matrix expected(dtype, s.m, s.n, gap);
                    const Rows bias_rows = bias;
                    twin.linear(in, *twin.pack(weight), has_bias ? &bias_rows : nullptr, expected, 1);

                    const DeviceMatrix x(in), w(weight), b(bias), out(Matrix(dtype, s.m, s.n, gap));
                    products.gemms.linear(nullptr, x, w, has_bias ? &b.rows() : nullptr, out);
                    CHECK(excess_error(out.host(), expected, dtype == DType::bf16 ? 1 : 0) < bound(dtype));
                }
}

TEST_CASE("linear on the device takes no rows and no columns") {
    Products products;
    const DeviceMatrix in(Matrix(DType::bf16, 0, 16)), weight(Matrix(DType::bf16, 8, 16)),
        out(Matrix(DType::bf16, 0, 8));
    products.gemms.linear(nullptr, in, weight, nullptr, out);
    const DeviceMatrix rows(Matrix(DType::bf16, 4, 16)), none(Matrix(DType::bf16, 0, 16)),
        empty(Matrix(DType::bf16, 4, 0));
    products.gemms.linear(nullptr, rows, none, nullptr, empty);
    CHECK_THROWS_WITH(products.gemms.linear(nullptr, rows, weight, nullptr, in), contains_text("in [m, k]"));
}

TEST_CASE("expert_gemm on the device is its twin's", "[products]") {
    Products products;
    struct Size {
        std::int64_t n, k;
    };
    for (const DType dtype : {DType::f32, DType::bf16})
        for (const GemmKind kind : {GemmKind::group, GemmKind::dense})
            for (const Size& size : std::vector<Size>{{16, 8}, {24, 40}, {136, 200}, {7, 5}})
                for (const auto& counts : kCounts) {
                    const Experts experts{counts, size.n, size.k};
                    INFO(name_of(dtype) << (kind == GemmKind::group ? " group " : " dense ") << counts.size()
                                        << " experts " << size.n << " x " << size.k);
                    const std::int64_t rows = experts.num_rows();
                    const Matrix in = Matrix::normal(dtype, rows, size.k, 1);
                    const Matrix weights = Matrix::normal(dtype, std::ssize(counts) * size.n, size.k, 2);
                    const Matrix expected(dtype, rows, size.n, 8);
                    std::int64_t expert = 0;
                    for (const device::ExpertShare& share : experts.shares(weights)) {
                        const Rows weight = weights.rows().slice(expert * size.n, (expert + 1) * size.n);
                        twin.linear(in.rows().slice(share.rows.begin, share.rows.end), *twin.pack(weight),
                                    nullptr, expected.rows().slice(share.rows.begin, share.rows.end), 1);
                        ++expert;
                    }
                    const DeviceMatrix x(in), w(weights), out(Matrix(dtype, rows, size.n, 8));
                    products.gemms.expert_gemm(nullptr, x, experts.shares(w), kind, out);
                    CHECK(excess_error(out.host(), expected, dtype == DType::bf16 ? 1 : 0) < bound(dtype));
                }
}

TEST_CASE("expert_gemm on the device lists many experts, and says when there are too many", "[products]") {
    Products products;
    const Experts experts{std::vector<std::int64_t>(kMostExperts, 2), 16, 8};
    const Matrix in = Matrix::normal(DType::bf16, experts.num_rows(), 8, 1);
    const Matrix weights = Matrix::normal(DType::bf16, kMostExperts * 16, 8, 2);
    const DeviceMatrix x(in), w(weights), group(Matrix(DType::bf16, experts.num_rows(), 16)),
        dense(Matrix(DType::bf16, experts.num_rows(), 16));
    std::vector<device::ExpertShare> shares = experts.shares(w);
    products.gemms.expert_gemm(nullptr, x, shares, GemmKind::group, group);
    products.gemms.expert_gemm(nullptr, x, shares, GemmKind::dense, dense);
    CHECK(excess_error(group.host(), dense.host(), 1) < 1e-4);
    shares.push_back(shares.front());
    CHECK_THROWS_WITH(products.gemms.expert_gemm(nullptr, x, shares, GemmKind::group, group),
                      contains_text("201 experts"));
}

TEST_CASE("products at real sizes: right, and the same bits in any company and on any number of SMs",
          "[products]") {
    Products products;
    struct Size {
        std::int64_t n, k;
    };
    for (const Size& size : {Size{3072, 5120}, Size{5120, 1536}}) {
        const Experts experts{{300, 0, 128, 1, 1000}, size.n, size.k};
        const std::int64_t rows = experts.num_rows();
        const DeviceRows in(DType::bf16, rows, size.k, 1);
        const DeviceRows weights(DType::bf16, std::ssize(experts.counts) * size.n, size.k, 2, 0.02F);
        const std::vector<device::ExpertShare> shares = experts.shares(weights);
        for (const GemmKind kind : {GemmKind::group, GemmKind::dense}) {
            INFO(size.n << " x " << size.k << (kind == GemmKind::group ? " group" : " dense"));
            const DeviceRows out(DType::bf16, rows, size.n, 3);
            products.gemms.expert_gemm(nullptr, in, shares, kind, out);
            const std::vector<std::byte> all = out.host();
            for (const int num_sms : {112, 64, 7}) {
                const DeviceRows again(DType::bf16, rows, size.n, 4);
                products.gemms.expert_gemm(nullptr, in, shares, kind, again, num_sms);
                CHECK(again.host() == all);
            }
            const DeviceRows apart(DType::bf16, rows, size.n, 4);
            for (const device::ExpertShare& share : shares)
                products.gemms.expert_gemm(nullptr, in, {&share, 1}, kind, apart);
            CHECK(apart.host() == all);

            double worst = 0, largest = 0;
            std::size_t expert = 0;
            for (const device::ExpertShare& share : shares) {
                const Rows weight =
                    weights.rows().slice(std::int64_t(expert) * size.n, std::int64_t(expert + 1) * size.n);
                const std::vector<float> expected =
                    share.rows.size() == 0
                        ? std::vector<float>{}
                        : plain_product(in.rows().slice(share.rows.begin, share.rows.end), weight);
                for (std::size_t i = 0; i < expected.size(); ++i) {
                    const float found = value(all, DType::bf16, std::size_t(share.rows.begin * size.n) + i);
                    worst = std::max(worst,
                                     std::abs(double(found) - expected[i]) - 0x1p-8 * std::abs(expected[i]));
                    largest = std::max(largest, double(std::abs(expected[i])));
                }
                ++expert;
            }
            CHECK(largest > 1);
            CHECK(worst / largest < 1e-4);
        }
    }
}

TEST_CASE("products whose lists travel together have the bits of single ones", "[products]") {
    using Gemms = device::Gemms;
    Products products;
    const Experts experts{{70, 0, 1, 300, 0, 128}, 640, 1536};
    const DeviceRows in(DType::bf16, experts.num_rows(), experts.k, 1);
    const DeviceRows weights(DType::bf16, std::ssize(experts.counts) * experts.n, experts.k, 2, 0.02F);
    const std::vector<device::ExpertShare> shares = experts.shares(weights);
    const DeviceRows expected(DType::bf16, experts.num_rows(), experts.n, 3);
    products.gemms.expert_gemm(nullptr, in, shares, GemmKind::group, expected);

    std::vector<std::byte> host(static_cast<std::size_t>(products.gemms.lists_bytes()));
    const std::vector<std::vector<device::ExpertShare>> chunks{
        {shares[0], shares[1]}, {shares[1]}, {shares[2], shares[3]}, {shares[4], shares[5]}};
    for (int round = 0; round < 2; ++round) {  // places are used again
        const DeviceRows first(DType::bf16, experts.num_rows(), experts.n, 4);
        const DeviceRows second(DType::bf16, experts.num_rows(), experts.n, 5);
        products.gemms.begin_lists(host.data());
        std::vector<Gemms::Listed> listed;
        for (const auto& chunk : chunks) {
            CHECK(!products.gemms.list(Gemms::kFirstList, in, chunk, GemmKind::dense, first));
            listed.push_back(
                products.gemms.list(Gemms::kFirstList, in, chunk, GemmKind::group, first).value());
            listed.push_back(
                products.gemms.list(Gemms::kSecondList, in, chunk, GemmKind::group, second).value());
        }
        products.gemms.send_lists(nullptr);
        for (const Gemms::Listed& product : listed) products.gemms.run(nullptr, product, 60 * round);
        CHECK(first.host() == expected.host());
        CHECK(second.host() == expected.host());
    }
}

TEST_CASE("all tiles of GroupGemm give the same bits", "[products]") {
    int num_sms = 0;
    must(cudaDeviceGetAttribute(&num_sms, cudaDevAttrMultiProcessorCount, 0));
    const DeviceBytes lists(device::group_problems_bytes(8));
    const device::GroupProblems problems = device::place_group_problems(lists.get(), 8);
    const std::int64_t n = 640, k = 1544;
    const DeviceRows in(DType::bf16, 700, k, 1), weights(DType::bf16, 3 * n, k, 2);
    std::vector<device::GroupProblem> list;
    std::int64_t first = 0;
    for (const std::int32_t count : {70, 1, 629}) {
        list.push_back({weights.rows().slice(std::ssize(list) * n, 3 * n).data, first, count});
        first += count;
    }
    std::optional<std::vector<std::byte>> expected;
    for (const device::GroupGemm* gemm :
         {&device::group_gemm_row_pairs(), &device::group_gemm_column_pairs()}) {
        const DeviceBytes workspace(static_cast<std::int64_t>(gemm->workspace_bytes(num_sms)));
        const DeviceRows out(DType::bf16, 700, n, 3);
        device::write_group_problems(nullptr, in, list, device::Then::nothing, out, problems);
        gemm->launch(nullptr, gemm->prepare(problems, 3, num_sms, workspace.get()).get());
        if (!expected) expected = out.host();
        CHECK(out.host() == *expected);
    }
}

TEST_CASE("a product with SwiGLU has the bits of one without and swiglu, and writes no other rows",
          "[products]") {
    Products products;
    int num_sms = 0;
    must(cudaDeviceGetAttribute(&num_sms, cudaDevAttrMultiProcessorCount, 0));
    const DeviceBytes lists(device::group_problems_bytes(8));
    const device::GroupProblems problems = device::place_group_problems(lists.get(), 8);
    const std::vector<std::int64_t> counts{1, 0, 127, 129, 257, 0, 128, 300};
    struct Size {
        std::int64_t width, k;
    };
    for (const Size& size : std::vector<Size>{{32, 8}, {96, 200}, {160, 1544}, {1536, 5120}}) {
        INFO("width " << size.width << " k " << size.k);
        const std::int64_t n = 2 * size.width, num_experts = std::ssize(counts);
        REQUIRE(device::is_interleaved(DType::bf16, n));
        const float scale = 2 / std::sqrt(static_cast<float>(size.k));
        const DeviceRows weights(DType::bf16, num_experts * n, size.k, 1, scale),
            interleaved(DType::bf16, num_experts * n, size.k, 2);
        std::vector<std::int32_t> order;
        for (std::int64_t row = 0; row < num_experts * n; ++row)
            order.push_back(
                static_cast<std::int32_t>(row / n * n + device::output_of(row % n) + row % 2 * size.width));
        const DeviceArray<std::int32_t> index(order);
        device::gather_rows(nullptr, weights, index.get(), interleaved);

        // Between the rows of two experts lie three of nobody.
        std::vector<device::ExpertShare> plain, paired;
        std::vector<device::GroupProblem> list;
        std::int64_t begin = 3;
        for (std::int64_t e = 0; e < num_experts; ++e) {
            const Range rows{begin, begin + counts[static_cast<std::size_t>(e)]};
            plain.push_back({weights.rows().slice(e * n, (e + 1) * n).data, rows});
            paired.push_back({interleaved.rows().slice(e * n, (e + 1) * n).data, rows});
            if (!rows.empty())
                list.push_back({paired.back().weight, begin, static_cast<std::int32_t>(rows.size())});
            begin = rows.end + 3;
        }
        const DeviceRows in(DType::bf16, begin, size.k, 3);
        const auto in_two_steps = [&](const std::vector<device::ExpertShare>& shares, auto&& swiglu) {
            const DeviceRows product(DType::bf16, begin, n, 4), out(DType::bf16, begin, size.width, 5);
            products.gemms.expert_gemm(nullptr, in, shares, GemmKind::group, product);
            for (const device::ExpertShare& share : shares)
                swiglu(nullptr, product.rows().slice(share.rows.begin, share.rows.end),
                       out.rows().slice(share.rows.begin, share.rows.end));
            return out.host();
        };
        const std::vector<std::byte> expected = in_two_steps(plain, device::swiglu);
        CHECK(in_two_steps(paired, device::swiglu_interleaved) == expected);

        for (const device::GroupGemm* gemm :
             {&device::group_gemm_row_pairs_swiglu(), &device::group_gemm_column_pairs_swiglu()}) {
            const DeviceBytes workspace(static_cast<std::int64_t>(gemm->workspace_bytes(num_sms)));
            const DeviceRows out(DType::bf16, begin, size.width, 5);
            device::write_group_problems(nullptr, in, list, device::Then::swiglu, out, problems);
            gemm->launch(
                nullptr,
                gemm->prepare(problems, static_cast<int>(list.size()), num_sms, workspace.get()).get());
            CHECK(out.host() == expected);
        }

        std::vector<std::byte> host(static_cast<std::size_t>(products.gemms.lists_bytes()));
        const DeviceRows out(DType::bf16, begin, size.width, 5);
        CHECK(device::Gemms::takes_swiglu(in, GemmKind::group, out));
        CHECK(!device::Gemms::takes_swiglu(in, GemmKind::dense, out));
        products.gemms.begin_lists(host.data());
        const auto listed = products.gemms.list(device::Gemms::kFirstList, in, paired, GemmKind::group, out,
                                                device::Then::swiglu);
        products.gemms.send_lists(nullptr);
        products.gemms.run(nullptr, listed.value());
        CHECK(out.host() == expected);
    }
}

TEST_CASE("SwiGLU in a product takes interleaved weights alone") {
    Products products;
    const DeviceRows in(DType::bf16, 4, 64, 1), narrow(DType::bf16, 4, 24, 2), exact(DType::f32, 4, 32, 3);
    CHECK(!device::Gemms::takes_swiglu(in, GemmKind::group, narrow));
    CHECK(!device::Gemms::takes_swiglu(DeviceRows(DType::f32, 4, 64, 1), GemmKind::group, exact));
    const device::ExpertShare share{in.rows().data, {0, 4}};
    CHECK_THROWS_WITH(products.gemms.list(device::Gemms::kFirstList, in, {&share, 1}, GemmKind::group, narrow,
                                          device::Then::swiglu),
                      contains_text("interleaved"));
}

TEST_CASE("logits of bf16 rows have f32 accuracy") {
    Products products;
    const std::int64_t rows = 200, hidden = 5120, experts = 160;
    const Matrix in = Matrix::normal(DType::bf16, rows, hidden, 1);
    const Matrix weight = Matrix::normal(DType::bf16, experts, hidden, 2, 0, 0.02F);
    const DeviceMatrix x(in), w(weight), logits(Matrix(DType::f32, rows, experts)),
        plain(Matrix(DType::f32, rows, experts));
    products.gemms.linear(nullptr, x, w, nullptr, logits);
    device::gate_logits(nullptr, x, w, plain.rows().row<float>(0));
    const Matrix found = logits.host(), by_plain = plain.host();
    double worst = 0, worst_plain = 0;  // of the sum of magnitudes
    for (std::int64_t row = 0; row < rows; ++row)
        for (std::int64_t expert = 0; expert < experts; ++expert) {
            double sum = 0, magnitude = 0;
            for (std::int64_t i = 0; i < hidden; ++i) {
                const double product = double(in.at(row, i)) * weight.at(expert, i);
                sum += product;
                magnitude += std::abs(product);
            }
            worst = std::max(worst, std::abs(found.at(row, expert) - sum) / magnitude);
            worst_plain = std::max(worst_plain, std::abs(by_plain.at(row, expert) - sum) / magnitude);
        }
    UNSCOPED_INFO("tensor cores " << worst << ", plain " << worst_plain);
    CHECK(worst < 1e-6);
    CHECK(worst_plain < 1e-6);
}
