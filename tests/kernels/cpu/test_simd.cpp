// The private parts under the fast kernels: exp, bf16 conversion, tiles, teams.
#include "kernels/cpu/parallel.hpp"
#include "kernels/cpu/tile.hpp"
#include "tests/catch.hpp"
#include "tests/kernels/cpu/fast_and_twin.hpp"

#include <atomic>

using namespace eps;
using namespace eps::kernels;

TEST_CASE("exp_f32 is exp to 1.5e-7 over the whole range") {
    double worst = 0;
    for (double x = -87.3; x < 88.7; x += 0.00037) {
        const auto f = static_cast<float>(x);
        const double exact = std::exp(static_cast<double>(f));
        worst = std::max(worst, std::abs(static_cast<double>(exp_f32(f)) - exact) / exact);
    }
    REQUIRE(worst < 1.5e-7);
    REQUIRE(exp_f32(0) == 1);
    REQUIRE(exp_f32(-200) == 0);
    REQUIRE(exp_f32(-INFINITY) == 0);
    REQUIRE(exp_f32(200) == INFINITY);
    REQUIRE(exp_f32(INFINITY) == INFINITY);
    REQUIRE(exp_f32(88.8F) == INFINITY);
    REQUIRE(exp_f32(88.7F) == Approx(std::exp(88.7)).epsilon(1e-5));
    REQUIRE(exp_f32(-100) == Approx(std::exp(-100.0)).epsilon(0.02).margin(0));  // denormal: few bits
    REQUIRE(std::isnan(exp_f32(NAN)));
}

TEST_CASE("vectorised bf16 stores have the bits of Bf16's constructor") {
    std::vector<float> values{0.0F, -0.0F, 1.0F, INFINITY, -INFINITY, NAN, -NAN, 1e-40F, 3.4e38F};
    for (const std::uint32_t bits :
         {0x7f800001U, 0x7fffffffU, 0xffffffffU, 0x3f808000U, 0x3f818000U, 0x7f7fffffU}) {
        values.push_back(std::bit_cast<float>(bits));
    }
    for (std::uint64_t i = 0; i < 4000; ++i) {
        values.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(random_bits(1, i))));
    }
    std::vector<Bf16> stored(values.size());
    const IsaLimit limit(GENERATE(from_range(all_isas())));
    const float* from = values.data();
    Bf16* to = stored.data();
    const auto count = static_cast<std::int64_t>(values.size());
    vectorised([=]() EPS_INLINE {
        for (std::int64_t i = 0; i < count; ++i) store(to + i, from[i]);
    });
    for (std::size_t i = 0; i < values.size(); ++i) {
        REQUIRE(stored[i].bits == Bf16(values[i]).bits);
        if (!std::isnan(values[i])) REQUIRE(rounded<Bf16>(values[i]) == static_cast<float>(Bf16(values[i])));
    }
}

TEST_CASE("tiles: every width, on every instruction set, added or not") {
    const IsaLimit limit(GENERATE(from_range(all_isas())));
    const std::int64_t num_vectors = GENERATE(1, 2, 3, 4);
    const std::int64_t depth = 37;
    const Matrix a = Matrix::normal(DType::f32, kTileRows, depth, 1);
    const Matrix panel = Matrix::normal(DType::f32, depth, kPanelCols, 2);
    const Matrix c = Matrix::normal(DType::f32, kTileRows, 70, 3);
    const Matrix before(c);
    const bool accumulate = GENERATE(false, true);
    multiply_tile(a.rows().row<float>(0), depth, panel.rows().row<float>(0), depth, c.rows().row<float>(0),
                  70, num_vectors, accumulate);
    for (std::int64_t r = 0; r < kTileRows; ++r) {
        for (std::int64_t col = 0; col < 70; ++col) {
            double expected = accumulate || col >= 16 * num_vectors ? before.at(r, col) : 0;
            for (std::int64_t d = 0; d < depth && col < 16 * num_vectors; ++d) {
                expected += static_cast<double>(a.at(r, d)) * static_cast<double>(panel.at(d, col));
            }
            REQUIRE(c.at(r, col) == Approx(expected).margin(1e-5));
        }
    }
}

TEST_CASE("panels: rows become columns, bf16 in pairs") {
    const IsaLimit limit(GENERATE(from_range(all_isas())));
    const Matrix rows = Matrix::normal(DType::f32, kPanelCols, 32, 1);
    const Matrix panel(DType::f32, 32, kPanelCols);
    transpose_into_panel(rows.rows().row<float>(0), 32, panel.rows().row<float>(0));
    const Matrix bf16_rows = Matrix::normal(DType::bf16, kPanelCols, 64, 1);
    std::vector<Bf16> bf16_panel(static_cast<std::size_t>(64 * kPanelCols));
    transpose_into_panel(bf16_rows.rows().row<Bf16>(0), 64, bf16_panel.data());
    for (std::int64_t col = 0; col < kPanelCols; ++col) {
        for (std::int64_t d = 0; d < 32; ++d) REQUIRE(panel.at(d, col) == rows.at(col, d));
        for (std::int64_t d = 0; d < 64; ++d) {
            const auto place = static_cast<std::size_t>((d / 2 * kPanelCols + col) * 2 + d % 2);
            REQUIRE(static_cast<float>(bf16_panel[place]) == bf16_rows.at(col, d));
        }
    }
}

TEST_CASE("teams: every row and every task once, small work stays on the caller") {
    for (const std::int64_t num_rows : {0, 1, 2, 7, 1000}) {
        for (const int threads : {1, 2, 3, 8}) {
            std::vector<std::atomic<int>> visits(static_cast<std::size_t>(num_rows));
            std::atomic<int> num_blocks{0};
            for_row_blocks(num_rows, 1 << 20, threads, [&](std::int64_t begin, std::int64_t end) {
                ++num_blocks;
                for (std::int64_t r = begin; r < end; ++r) ++visits[static_cast<std::size_t>(r)];
            });
            for (const auto& count : visits) REQUIRE(count == 1);
            REQUIRE(num_blocks == std::min<std::int64_t>(num_rows, threads));
            for_tasks(num_rows, threads,
                      [&](std::int64_t task) { ++visits[static_cast<std::size_t>(task)]; });
            for (const auto& count : visits) REQUIRE(count == 2);
        }
    }
    int num_blocks = 0;
    for_row_blocks(100, 64, 8, [&](std::int64_t, std::int64_t) { ++num_blocks; });
    REQUIRE(num_blocks == 1);
}

TEST_CASE("teams: the first exception comes out, after all have ended") {
    std::atomic<int> num_ended{0};
    REQUIRE_THROWS_WITH(on_team(3,
                                [&](int thread_idx) {
                                    ++num_ended;
                                    if (thread_idx == 1) throw Error(Exit::internal, "thread one");
                                }),
                        contains_text("thread one"));
    REQUIRE(num_ended == 3);
}
