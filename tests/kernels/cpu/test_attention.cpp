// attention: fast against twin, and what a row's bits may depend on.
#include "tests/catch.hpp"
#include "tests/kernels/cpu/fast_and_twin.hpp"

using namespace eps;
using namespace eps::kernels;

namespace {

struct Case {
    DType dtype;
    AttentionArgs args;
    std::vector<std::int64_t> starts;
    Matrix q;
    Matrix kv;
    Matrix k_rope;

    Case(DType type, AttentionArgs a, const std::vector<std::int64_t>& lengths, std::int64_t gap = 0)
        : dtype(type),
          args(a),
          starts(starts_of(lengths)),
          q(Matrix::normal(type, num_tokens(), a.num_heads * (a.nope_dim + a.rope_dim), 1, gap)),
          kv(Matrix::normal(type, num_tokens(), a.num_heads * (a.nope_dim + a.v_dim), 2, gap)),
          k_rope(Matrix::normal(type, num_tokens(), a.rope_dim, 3, gap)) {}

    static std::vector<std::int64_t> starts_of(const std::vector<std::int64_t>& lengths) {
        std::vector<std::int64_t> starts{0};
        for (const std::int64_t length : lengths) starts.push_back(starts.back() + length);
        return starts;
    }
    std::int64_t num_tokens() const { return starts.back(); }

    Matrix run(const Kernels& kernels, int threads) const {
        Matrix out(dtype, num_tokens(), args.num_heads * args.v_dim);
        kernels.attention(q, kv, k_rope, starts, args, out, threads);
        return out;
    }
};

/// Probabilities that round to another bf16 neighbour move an output by a fraction of its rounding.
void compare(const Case& c, int threads) {
    INFO(name_of(c.dtype) << " heads " << c.args.num_heads << " dims " << c.args.nope_dim << " "
                          << c.args.rope_dim << " " << c.args.v_dim << " tokens " << c.num_tokens()
                          << " threads " << threads);
    const bool bf16 = c.dtype == DType::bf16;
    REQUIRE(excess_error(c.run(fast, threads), c.run(twin, 1), bf16 ? 1 : 0) < (bf16 ? 2e-3 : 3e-6));
}

}  // namespace

TEST_CASE("attention: real dims, fast against twin") {
    const DType dtype = GENERATE(DType::f32, DType::bf16);
    const AttentionArgs v2{.num_heads = 2, .nope_dim = 128, .rope_dim = 64, .v_dim = 128, .scale = 0.1147};
    compare(Case(dtype, v2, {200, 1, 67}), 2);
    const AttentionArgs tiny{.num_heads = 4, .nope_dim = 16, .rope_dim = 8, .v_dim = 16, .scale = 0.32};
    compare(Case(dtype, tiny, {24, 24}), 2);
}

TEST_CASE("attention: odd dims and lengths on every instruction set") {
    const DType dtype = GENERATE(DType::f32, DType::bf16);
    const IsaLimit limit(GENERATE(from_range(all_isas())));
    for (const std::vector<std::int64_t>& lengths : {std::vector<std::int64_t>{1},
                                                     {1, 2, 3},
                                                     {0, 5, 0},
                                                     {6, 7},
                                                     {47, 48, 49},
                                                     {63, 64, 65},
                                                     {101, 19, 24, 58}}) {
        compare(Case(dtype, {.num_heads = 3, .nope_dim = 19, .rope_dim = 6, .v_dim = 24, .scale = 0.2},
                     lengths, 3),
                2);
        compare(Case(dtype, {.num_heads = 1, .nope_dim = 1, .rope_dim = 2, .v_dim = 1, .scale = 1}, lengths),
                1);
        compare(Case(dtype, {.num_heads = 2, .nope_dim = 58, .rope_dim = 10, .v_dim = 101, .scale = 0.1},
                     lengths),
                3);
    }
}

TEST_CASE("attention: nothing to do") {
    const DType dtype = GENERATE(DType::f32, DType::bf16);
    const AttentionArgs args{.num_heads = 2, .nope_dim = 8, .rope_dim = 4, .v_dim = 8, .scale = 1};
    REQUIRE(Case(dtype, args, {}).run(fast, 2).rows().num_rows == 0);
    REQUIRE(Case(dtype, args, {0, 0}).run(fast, 2).rows().num_rows == 0);
    AttentionArgs no_heads = args;
    no_heads.num_heads = 0;
    REQUIRE(Case(dtype, no_heads, {5}).run(fast, 2).rows().num_cols == 0);
    REQUIRE(Case(dtype, no_heads, {5}).run(twin, 2).rows().num_cols == 0);
}

TEST_CASE("attention: large scores neither overflow nor vanish") {
    const DType dtype = GENERATE(DType::f32, DType::bf16);
    const Case c(dtype, {.num_heads = 1, .nope_dim = 32, .rope_dim = 8, .v_dim = 16, .scale = 40}, {90});
    compare(c, 1);
}

TEST_CASE("attention: a row's bits do not depend on threads") {
    const DType dtype = GENERATE(DType::f32, DType::bf16);
    const AttentionArgs args{.num_heads = 3, .nope_dim = 32, .rope_dim = 16, .v_dim = 32, .scale = 0.15};
    const Case c(dtype, args, {300, 17, 150});
    const Matrix one = c.run(fast, 1);
    for (const int threads : {2, 3, 5}) REQUIRE(same_bits(c.run(fast, threads), one));
}

TEST_CASE("attention: a row's bits do not depend on other sequences") {
    const DType dtype = GENERATE(DType::f32, DType::bf16);
    const AttentionArgs args{.num_heads = 2, .nope_dim = 32, .rope_dim = 16, .v_dim = 40, .scale = 0.15};
    const Case c(dtype, args, {100, 61, 130});
    const Matrix together = c.run(fast, 2);
    for (std::size_t s = 0; s < 3; ++s) {
        const std::int64_t begin = c.starts[s];
        const std::int64_t end = c.starts[s + 1];
        const Matrix alone(dtype, end - begin, 80);
        const std::vector<std::int64_t> starts{0, end - begin};
        fast.attention(c.q.rows().slice(begin, end), c.kv.rows().slice(begin, end),
                       c.k_rope.rows().slice(begin, end), starts, args, alone, 3);
        REQUIRE(same_bits(alone, together.rows().slice(begin, end)));
    }
}

TEST_CASE("attention: a head's bits do not depend on how heads are sharded") {
    const DType dtype = GENERATE(DType::f32, DType::bf16);
    AttentionArgs args{.num_heads = 5, .nope_dim = 24, .rope_dim = 8, .v_dim = 20, .scale = 0.15};
    const Case c(dtype, args, {120, 33});
    const Matrix whole = c.run(fast, 2);
    for (const Range heads : {Range{0, 1}, Range{1, 3}, Range{3, 5}}) {
        args.num_heads = heads.size();
        const Matrix shard(dtype, c.num_tokens(), heads.size() * 20);
        fast.attention(c.q.rows().columns(heads.begin * 32, heads.size() * 32),
                       c.kv.rows().columns(heads.begin * 44, heads.size() * 44), c.k_rope, c.starts, args,
                       shard, 2);
        REQUIRE(same_bits(shard, whole.rows().columns(heads.begin * 20, heads.size() * 20)));
    }
}

TEST_CASE("attention: later rows of the sequence change nothing") {
    const DType dtype = GENERATE(DType::f32, DType::bf16);
    const AttentionArgs args{.num_heads = 2, .nope_dim = 16, .rope_dim = 8, .v_dim = 16, .scale = 0.2};
    const Case c(dtype, args, {140});
    const Matrix whole = c.run(fast, 2);
    for (const std::int64_t length : {1, 5, 48, 64, 77, 139}) {
        const Matrix prefix(dtype, length, 32);
        const std::vector<std::int64_t> starts{0, length};
        fast.attention(c.q.rows().slice(0, length), c.kv.rows().slice(0, length),
                       c.k_rope.rows().slice(0, length), starts, args, prefix, 1);
        REQUIRE(same_bits(prefix, whole.rows().slice(0, length)));
    }
}
