// embed, pack_rows, rms_norm, rope, swiglu and the sums: fast against twin; bits independent of threads; gaps
// untouched.
#include "tests/catch.hpp"
#include "tests/kernels/cpu/fast_and_twin.hpp"

#include <functional>

using namespace eps;
using namespace eps::kernels;

namespace {

using Shape = std::pair<std::int64_t, std::int64_t>;
const std::vector<Shape> kShapes{{0, 7},   {1, 1},    {1, 2048}, {2, 19},    {19, 24},
                                 {24, 64}, {58, 101}, {101, 58}, {30, 1536}, {20, 5120}};

/// Runs `op(kernels, out, threads)` fast and as twin; the results agree to `ulps` roundings and `bound`, and
/// the fast one has the same bits on every number of threads, and leaves the gaps between rows alone.
void compare(DType dtype, Shape shape, double ulps, double bound,
             const std::function<void(const Kernels&, Rows, int)>& op) {
    INFO(name_of(dtype) << " [" << shape.first << ", " << shape.second << "]");
    const Matrix out(dtype, shape.first, shape.second, 5);
    const Matrix expected(dtype, shape.first, shape.second, 5);
    op(fast, out, 1);
    op(twin, expected, 1);
    REQUIRE(excess_error(out, expected, ulps) <= bound);
    for (const int threads : {2, 3, 5}) {
        const Matrix again(dtype, shape.first, shape.second, 5);
        op(fast, again, threads);
        REQUIRE(again.storage() == out.storage());
    }
    Rows gaps = out.rows().columns(shape.second, 5);
    gaps.num_rows = std::max<std::int64_t>(shape.first - 1, 0);
    REQUIRE(same_bits(gaps, Matrix(dtype, gaps.num_rows, 5)));
}

std::vector<std::int32_t> random_index(std::size_t size, std::int64_t num_rows, std::uint64_t key) {
    std::vector<std::int32_t> index(size);
    for (std::size_t i = 0; i < size; ++i) {
        index[i] = static_cast<std::int32_t>(random_bits(key, i) % static_cast<std::uint64_t>(num_rows));
    }
    return index;
}

/// Lists of 0 to 6 entries for each row.
std::vector<std::int32_t> random_starts(std::int64_t num_rows) {
    std::vector<std::int32_t> starts{0};
    for (std::int64_t i = 0; i < num_rows; ++i) {
        starts.push_back(starts.back() +
                         static_cast<std::int32_t>(random_bits(9, static_cast<std::uint64_t>(i)) % 7));
    }
    return starts;
}

}  // namespace

TEST_CASE("pack_rows and embed: fast against twin") {
    const DType dtype = GENERATE(DType::f32, DType::bf16);
    const Shape shape = GENERATE(from_range(kShapes));
    const Matrix in = Matrix::normal(dtype, 37, shape.second, 1, 3);
    const std::vector<std::int32_t> index = random_index(static_cast<std::size_t>(shape.first), 37, 2);
    compare(dtype, shape, 0, 0,
            [&](const Kernels& k, Rows out, int threads) { k.pack_rows(in, index, out, threads); });
    compare(dtype, shape, 0, 0,
            [&](const Kernels& k, Rows out, int threads) { k.embed(index, in, out, threads); });
}

TEST_CASE("rms_norm: fast against twin, views of columns") {
    const DType dtype = GENERATE(DType::f32, DType::bf16);
    const IsaLimit limit(GENERATE(from_range(all_isas())));
    const Shape shape = GENERATE(from_range(kShapes));
    const Matrix wide = Matrix::normal(dtype, shape.first, shape.second + 64, 1, 0, 3);
    const Rows in = wide.rows().columns(0, shape.second);
    const Matrix weight = Matrix::normal(dtype, 1, shape.second, 2);
    // bf16: the inner rounding may fall apart, too
    compare(dtype, shape, dtype == DType::bf16 ? 2 : 0, 3e-6,
            [&](const Kernels& k, Rows out, int threads) { k.rms_norm(in, weight, 1e-6, out, threads); });
}

TEST_CASE("swiglu: fast against twin") {
    const DType dtype = GENERATE(DType::f32, DType::bf16);
    const IsaLimit limit(GENERATE(from_range(all_isas())));
    const Shape shape = GENERATE(from_range(kShapes));
    const Matrix in = Matrix::normal(dtype, shape.first, 2 * shape.second, 1, 2, 8);
    compare(dtype, shape, dtype == DType::bf16 ? 1 : 0, 1e-6,
            [&](const Kernels& k, Rows out, int threads) { k.swiglu(in, out, threads); });
}

TEST_CASE("swiglu: extreme gates") {
    const Matrix in =
        Matrix::of(DType::f32, 14, {-1e30F, -200, -88.6F, -1, 1, 90, 1e30F, 1, 1, 1, 1, 1, 1, 1});
    const Matrix out(DType::f32, 1, 7);
    fast.swiglu(in, out, 1);
    REQUIRE(out.at(0, 0) == 0);
    REQUIRE(out.at(0, 1) == 0);
    REQUIRE(std::abs(out.at(0, 2)) < 1e-35);
    REQUIRE(out.at(0, 3) == Approx(-0.268941421));
    REQUIRE(out.at(0, 4) == Approx(0.731058579));
    REQUIRE(out.at(0, 5) == 90);
    REQUIRE(out.at(0, 6) == 1e30F);
}

TEST_CASE("rope: fast against twin, heads with strides, columns beside them untouched") {
    const DType dtype = GENERATE(DType::f32, DType::bf16);
    const IsaLimit limit(GENERATE(from_range(all_isas())));
    for (const auto& [num_rows, num_heads, num_pairs] :
         {std::tuple<std::int64_t, std::int64_t, std::int64_t>{0, 2, 3},
          {1, 1, 1},
          {19, 3, 3},
          {24, 4, 4},
          {101, 16, 32}}) {
        RopeTable table{{}, 1.25};
        for (std::int64_t i = 0; i < num_pairs; ++i) {
            table.inverse_frequencies.push_back(
                std::pow(10000.0, -static_cast<double>(i) / static_cast<double>(num_pairs)));
        }
        std::vector<std::int32_t> positions = random_index(static_cast<std::size_t>(num_rows), 5000, 3);
        const std::int64_t head_stride = 2 * num_pairs + 7;
        const Matrix in = Matrix::normal(dtype, num_rows, num_heads * head_stride, 1);
        // a cos - b sin: one product may be fused into the sum
        compare(dtype, {num_rows, num_heads * head_stride}, dtype == DType::bf16 ? 1 : 0, 1e-6,
                [&](const Kernels& k, Rows out, int threads) {
                    k.pack_rows(in,
                                random_index(static_cast<std::size_t>(num_rows),
                                             std::max<std::int64_t>(num_rows, 1), 5),
                                out, 1);
                    k.rope(out, positions, table, num_heads, head_stride, 7, threads);
                });
        const Matrix x(in);
        fast.rope(x, positions, table, num_heads, head_stride, 7, 2);
        for (std::int64_t head = 0; head < num_heads; ++head) {
            REQUIRE(
                same_bits(x.rows().columns(head * head_stride, 7), in.rows().columns(head * head_stride, 7)));
        }
    }
}

TEST_CASE("rope: a table grows with the positions, and two tables stay apart") {
    const RopeTable slow{{0.001}, 1};
    const RopeTable quick{{0.5}, 1};
    for (const std::int32_t position : {0, 3, 1000, 70000, 2}) {
        for (const RopeTable* table : {&slow, &quick}) {
            const Matrix x = Matrix::of(DType::f32, 2, {1, 0});
            fast.rope(x, std::vector<std::int32_t>{position}, *table, 1, 2, 0, 1);
            REQUIRE(x.at(0, 0) == static_cast<float>(std::cos(position * table->inverse_frequencies[0])));
            REQUIRE(x.at(0, 1) == static_cast<float>(std::sin(position * table->inverse_frequencies[0])));
        }
    }
}

TEST_CASE("rope: mistakes are named") {
    const Matrix x(DType::f32, 2, 8);
    const RopeTable table{{1, 0.1}, 1};
    REQUIRE_THROWS_WITH(fast.rope(x, std::vector<std::int32_t>{0, -1}, table, 1, 8, 0, 1),
                        contains_text("positions"));
    REQUIRE_THROWS_WITH(fast.rope(x, std::vector<std::int32_t>{0, 1}, table, 2, 8, 0, 1),
                        contains_text("heads"));
    REQUIRE_THROWS_WITH(fast.rope(x, std::vector<std::int32_t>{0}, table, 1, 8, 0, 1),
                        contains_text("position"));
}

TEST_CASE("local_reduce and unpack_sum: fast against twin, empty lists among them") {
    const DType dtype = GENERATE(DType::f32, DType::bf16);
    const IsaLimit limit(GENERATE(from_range(all_isas())));
    const Shape shape = GENERATE(from_range(kShapes));
    const Matrix in = Matrix::normal(dtype, 53, shape.second, 1, 4);
    const Matrix shared = Matrix::normal(dtype, shape.first, shape.second, 2, 1);
    const Matrix residual = Matrix::normal(dtype, shape.first, shape.second, 3, 2);
    const Rows shared_rows = shared;
    const Rows residual_rows = residual;
    const std::vector<std::int32_t> starts = random_starts(shape.first);
    const std::vector<std::int32_t> index = random_index(static_cast<std::size_t>(starts.back()), 53, 6);
    std::vector<float> weights;
    for (std::size_t i = 0; i < index.size(); ++i) weights.push_back(random_normal(7, i));
    const double ulps = dtype == DType::bf16 ? 1 : 0;
    compare(dtype, shape, ulps, 1e-6, [&](const Kernels& k, Rows out, int threads) {
        k.local_reduce(in, starts, index, weights, out, threads);
    });
    for (const Rows* s : {static_cast<const Rows*>(nullptr), &shared_rows}) {
        for (const Rows* r : {static_cast<const Rows*>(nullptr), &residual_rows}) {
            compare(dtype, shape, 0, 0,
                    [&](const Kernels& k, Rows out, int threads) {  // sums alone: exactly equal
                        k.unpack_sum(in, starts, index, s, r, out, threads);
                    });
        }
    }
    compare(dtype, shape, 0, 0, [&](const Kernels& k, Rows out, int threads) {  // in place
        std::vector<std::int32_t> all;
        for (std::int64_t i = 0; i < shape.first; ++i) all.push_back(static_cast<std::int32_t>(i));
        k.pack_rows(residual, all, out, 1);
        k.unpack_sum(in, starts, index, &shared_rows, &out, out, threads);
    });
}

TEST_CASE("sum_rows: fast against twin, also into one of the parts") {
    const DType dtype = GENERATE(DType::f32, DType::bf16);
    const IsaLimit limit(GENERATE(from_range(all_isas())));
    const Shape shape = GENERATE(from_range(kShapes));
    const int num_parts = GENERATE(0, 1, 2, 5);
    std::vector<Matrix> matrices;
    for (int p = 0; p < num_parts; ++p) {
        matrices.push_back(
            Matrix::normal(dtype, shape.first, shape.second, 10 + static_cast<std::uint64_t>(p), p));
    }
    std::vector<Rows> parts(matrices.begin(), matrices.end());
    compare(dtype, shape, 0, 0,
            [&](const Kernels& k, Rows out, int threads) { k.sum_rows(parts, out, threads); });
    if (num_parts < 2) return;
    const Matrix expected(dtype, shape.first, shape.second);
    fast.sum_rows(parts, expected, 2);
    fast.sum_rows(parts, parts[1], 2);
    REQUIRE(same_bits(parts[1], expected));
}

TEST_CASE("sums: mistakes are named") {
    const Matrix in(DType::f32, 2, 8);
    const Matrix out(DType::f32, 2, 8);
    const std::vector<std::int32_t> starts{0, 1};  // one list for two rows
    const std::vector<std::int32_t> index{0};
    REQUIRE_THROWS_AS(fast.local_reduce(in, starts, index, std::vector<float>{1}, out, 1), Error);
    REQUIRE_THROWS_AS(fast.unpack_sum(in, starts, index, nullptr, nullptr, out, 1), Error);
    REQUIRE_THROWS_AS(fast.sum_rows(std::vector<Rows>{Matrix(DType::bf16, 2, 8).rows()}, out, 1), Error);
}
