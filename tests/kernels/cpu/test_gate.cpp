// gate: fast against twin, ties, groups, forced ids, and what a row's decision may depend on.
#include "tests/catch.hpp"
#include "tests/kernels/cpu/fast_and_twin.hpp"

#include <set>

using namespace eps;
using namespace eps::kernels;

namespace {

struct Choice {
    std::vector<std::int32_t> ids;
    std::vector<float> weights;

    friend bool operator==(const Choice&, const Choice&) = default;
};

Choice choose(const Kernels& kernels, Rows in, Rows weight, const GateArgs& args, int threads,
              std::vector<std::int32_t> forced = {}) {
    const auto size = static_cast<std::size_t>(in.num_rows * args.top_k);
    Choice choice{std::move(forced), std::vector<float>(size)};
    choice.ids.resize(size);
    kernels.gate(in, weight, args, choice.ids.data(), choice.weights.data(), threads);
    return choice;
}

/// Equal decisions, except where f32 sums in another order may exchange near-equal scores.
void compare(const Choice& a, const Choice& b, std::int64_t num_flips_allowed) {
    REQUIRE(a.ids.size() == b.ids.size());
    std::int64_t num_flips = 0;
    for (std::size_t i = 0; i < a.ids.size(); ++i) {
        if (a.ids[i] != b.ids[i]) ++num_flips;
        REQUIRE(a.weights[i] == Approx(b.weights[i]).epsilon(2e-5));
    }
    REQUIRE(num_flips <= num_flips_allowed);
}

/// Small integers: logits are exact in f32 in every order of summation, and many of them are equal.
Matrix integers(DType dtype, std::int64_t num_rows, std::int64_t num_cols, std::uint64_t key,
                int num_values) {
    Matrix m(dtype, num_rows, num_cols);
    for (std::int64_t i = 0; i < num_rows * num_cols; ++i) {
        const auto value =
            random_bits(key, static_cast<std::uint64_t>(i)) % static_cast<std::uint64_t>(num_values);
        set(m, i / num_cols, i % num_cols, static_cast<float>(value) - static_cast<float>(num_values / 2));
    }
    return m;
}

}  // namespace

TEST_CASE("gate: real shapes, fast against twin") {
    const DType dtype = GENERATE(DType::f32, DType::bf16);
    const GateArgs v2{.top_k = 6, .n_group = 8, .topk_group = 3, .routed_scaling_factor = 16};
    const GateArgs lite{.top_k = 6};
    const Matrix x = Matrix::normal(dtype, 40, 5120, 1, 0, 0.02F);
    compare(choose(fast, x, Matrix::normal(dtype, 160, 5120, 2), v2, 2),
            choose(twin, x, Matrix::normal(dtype, 160, 5120, 2), v2, 1), 2);
    const Matrix y = Matrix::normal(dtype, 100, 2048, 3, 7, 0.03F);
    compare(choose(fast, y, Matrix::normal(dtype, 64, 2048, 4), lite, 2),
            choose(twin, y, Matrix::normal(dtype, 64, 2048, 4), lite, 1), 2);
}

TEST_CASE("gate: odd shapes on every instruction set") {
    const DType dtype = GENERATE(DType::f32, DType::bf16);
    const IsaLimit limit(GENERATE(from_range(all_isas())));
    for (const std::int64_t num_tokens : {1, 5, 19, 101}) {
        for (const std::int64_t hidden : {1, 24, 58, 300}) {
            for (const std::int64_t num_experts : {1, 15, 19, 64, 101}) {
                const GateArgs args{.top_k = std::min<std::int64_t>(3, num_experts),
                                    .norm_topk_prob = hidden == 24};
                const Matrix x = Matrix::normal(dtype, num_tokens, hidden, 1, 2, 0.3F);
                const Matrix w = Matrix::normal(dtype, num_experts, hidden, 2);
                INFO(num_tokens << " tokens " << hidden << " hidden " << num_experts << " experts");
                compare(choose(fast, x, w, args, 2), choose(twin, x, w, args, 1), 2);
            }
        }
    }
}

TEST_CASE("gate: a weight in f32 beside rows in bf16") {
    const Matrix x = Matrix::normal(DType::bf16, 20, 48, 1);
    const Matrix w = Matrix::normal(DType::f32, 16, 48, 2, 0, 0.1F);
    compare(choose(fast, x, w, {.top_k = 4}, 2), choose(twin, x, w, {.top_k = 4}, 1), 0);
}

TEST_CASE("gate: ties go to the lower id, exactly") {
    const std::int64_t n_group = GENERATE(1, 4);
    const int threads = GENERATE(1, 3);
    const GateArgs args{.top_k = 5, .n_group = n_group, .topk_group = 2};
    const Matrix x = integers(DType::bf16, 400, 16, 1, 3);
    const Matrix w = integers(DType::bf16, 16, 16, 2, 3);
    const Choice choice = choose(fast, x, w, args, threads);
    REQUIRE(choice.ids == choose(twin, x, w, args, 1).ids);
    std::int64_t num_ties = 0;
    for (std::size_t i = 0; i + 1 < choice.ids.size(); ++i) {
        if (i % 5 == 4 || choice.weights[i] != choice.weights[i + 1]) continue;
        REQUIRE(choice.ids[i] < choice.ids[i + 1]);
        ++num_ties;
    }
    REQUIRE(num_ties > 100);
}

TEST_CASE("gate: equal experts everywhere take the lowest ids and groups") {
    const Kernels& kernels = *GENERATE(&cpu_kernels(), &reference_kernels());
    const Matrix x = Matrix::normal(DType::f32, 3, 8, 1);
    const Matrix w(DType::f32, 12, 8);
    const Choice choice = choose(kernels, x, w, {.top_k = 4, .n_group = 4, .topk_group = 2}, 1);
    REQUIRE(choice.ids == std::vector<std::int32_t>{0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3});
}

TEST_CASE("gate: forced ids keep their set, get their scores, are sorted") {
    const bool norm = GENERATE(false, true);
    GateArgs args{
        .top_k = 3, .n_group = 4, .topk_group = 1, .norm_topk_prob = norm, .routed_scaling_factor = 2.5};
    const Matrix x = Matrix::normal(DType::f32, 30, 24, 1);
    const Matrix w = Matrix::normal(DType::f32, 16, 24, 2);
    args.forced = true;
    std::vector<std::int32_t> forced;
    for (std::uint64_t i = 0; i < 30; ++i) {
        const auto first = static_cast<std::int32_t>(random_bits(4, i) % 16);
        for (const std::int32_t step : {0, 5, 10}) forced.push_back((first + step) % 16);
    }
    const Choice choice = choose(fast, x, w, args, 2, forced);
    compare(choice, choose(twin, x, w, args, 1, forced), 0);
    for (std::size_t row = 0; row < 30; ++row) {
        const auto* wanted = forced.data() + 3 * row;
        const auto* got = choice.ids.data() + 3 * row;
        REQUIRE(std::set<std::int32_t>(wanted, wanted + 3) == std::set<std::int32_t>(got, got + 3));
    }
    forced[7] = 16;
    REQUIRE_THROWS_AS(choose(fast, x, w, args, 2, forced), Error);
}

TEST_CASE("gate: a row decides alike whatever rows are beside it, and with any threads") {
    const DType dtype = GENERATE(DType::f32, DType::bf16);
    const GateArgs args{.top_k = 6, .n_group = 8, .topk_group = 3, .routed_scaling_factor = 16};
    const Matrix x = Matrix::normal(dtype, 230, 700, 1);
    const Matrix w = Matrix::normal(dtype, 160, 700, 2, 0, 0.05F);
    const Choice whole = choose(fast, x, w, args, 1);
    for (const int threads : {2, 3, 7}) REQUIRE(choose(fast, x, w, args, threads) == whole);
    for (const Range rows : {Range{0, 1}, Range{7, 8}, Range{1, 14}, Range{100, 230}}) {
        const Choice part = choose(fast, x.rows().slice(rows.begin, rows.end), w, args, 2);
        const auto begin = static_cast<std::ptrdiff_t>(rows.begin * 6);
        const auto end = static_cast<std::ptrdiff_t>(rows.end * 6);
        REQUIRE(part.ids == std::vector<std::int32_t>(whole.ids.begin() + begin, whole.ids.begin() + end));
        REQUIRE(part.weights ==
                std::vector<float>(whole.weights.begin() + begin, whole.weights.begin() + end));
    }
}

TEST_CASE("gate: NaN keeps ids distinct and in range") {
    const Kernels& kernels = *GENERATE(&cpu_kernels(), &reference_kernels());
    const std::int64_t n_group = GENERATE(1, 3);
    Matrix x = Matrix::normal(DType::f32, 4, 8, 1);
    set(x, 1, 3, NAN);
    set(x, 2, 0, INFINITY);
    Matrix w = Matrix::normal(DType::f32, 12, 8, 2);
    const bool in_weight = GENERATE(false, true);
    if (in_weight) set(w, 5, 5, NAN);
    const Choice choice = choose(kernels, x, w, {.top_k = 4, .n_group = n_group, .topk_group = 1}, 2);
    for (std::size_t row = 0; row < 4; ++row) {
        const std::set<std::int32_t> ids(choice.ids.begin() + static_cast<std::ptrdiff_t>(4 * row),
                                         choice.ids.begin() + static_cast<std::ptrdiff_t>(4 * row + 4));
        REQUIRE(ids.size() == 4);
        REQUIRE(*ids.begin() >= 0);
        REQUIRE(*ids.rbegin() < 12);
    }
}

TEST_CASE("gate: no rows") {
    const Kernels& kernels = *GENERATE(&cpu_kernels(), &reference_kernels());
    const Choice choice =
        choose(kernels, Matrix(DType::f32, 0, 8), Matrix(DType::f32, 12, 8), {.top_k = 4}, 2);
    REQUIRE(choice.ids.empty());
}
