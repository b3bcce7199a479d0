#include "base/random.hpp"
#include "tests/catch.hpp"
#include "workload/batch.hpp"

#include <array>
#include <cmath>

using namespace eps;
using namespace eps::workload;

TEST_CASE("sequences are concatenated without padding") {
    const Batch batch({5, 1, 3});
    CHECK(batch.starts == std::vector<std::int64_t>{0, 5, 6, 9});
    CHECK(batch.num_sequences() == 3);
    CHECK(batch.num_tokens() == 9);
    CHECK(batch.longest() == 5);
    CHECK(batch.sequence_of(0) == 0);
    CHECK(batch.sequence_of(4) == 0);
    CHECK(batch.sequence_of(5) == 1);
    CHECK(batch.sequence_of(8) == 2);
    CHECK(batch.tokens_of(2) == Range{6, 9});
}

TEST_CASE("positions start again in each sequence, from any token on") {
    const Batch batch({5, 1, 3});
    const std::vector<std::int32_t> all{0, 1, 2, 3, 4, 0, 0, 1, 2};
    for (std::int64_t begin = 0; begin <= 9; ++begin)
        for (std::int64_t end = begin; end <= 9; ++end) {
            std::vector<std::int32_t> positions(static_cast<std::size_t>(end - begin), -1);
            write_positions(batch, {begin, end}, positions);
            CHECK(positions == std::vector<std::int32_t>(all.begin() + begin, all.begin() + end));
        }
}

TEST_CASE("random token ids are in the vocabulary, spread out, and each token's own") {
    const Batch batch({300, 700});
    const auto ids = make_token_ids("random", batch, 10, 1);
    std::vector<std::int32_t> all(1000);
    ids->write({0, 1000}, all);
    std::array<int, 10> counts{};
    for (const std::int32_t id : all) {
        REQUIRE((id >= 0 && id < 10));
        ++counts[static_cast<std::size_t>(id)];
    }
    for (const int count : counts) CHECK((count > 60 && count < 140));

    std::vector<std::int32_t> part(77);
    ids->write({333, 410}, part);
    CHECK(part == std::vector<std::int32_t>(all.begin() + 333, all.begin() + 410));

    std::vector<std::int32_t> other_seed(1000);
    make_token_ids("random", batch, 10, 2)->write({0, 1000}, other_seed);
    CHECK(all != other_seed);
}

TEST_CASE("input rows are a function of seed, global token and column") {
    std::vector<float> all(40 * 7), part(5 * 7), padded(5 * 9, -1.0F);
    const auto rows_of = [](std::vector<float>& data, std::int64_t num_rows, std::int64_t stride) {
        return Rows{reinterpret_cast<std::byte*>(data.data()), DType::f32, num_rows, 7, stride};
    };
    write_input_rows(3, {0, 40}, rows_of(all, 40, 7));
    write_input_rows(3, {10, 15}, rows_of(part, 5, 7));
    write_input_rows(3, {10, 15}, rows_of(padded, 5, 9));
    CHECK(part == std::vector<float>(all.begin() + 70, all.begin() + 105));
    CHECK(padded[9] == part[7]);
    CHECK(padded[7] == -1.0F);
    CHECK(all[3 * 7 + 2] == random_normal(stream_key(3, "input"), 3 * 7 + 2));

    double sum = 0, squares = 0;
    for (const float value : all) sum += value, squares += value * value;
    CHECK(std::abs(sum / 280) < 0.2);
    CHECK(squares / 280 == Approx(1).margin(0.25));

    std::vector<Bf16> rounded(40 * 7);
    write_input_rows(3, {0, 40}, {reinterpret_cast<std::byte*>(rounded.data()), DType::bf16, 40, 7, 7});
    for (std::size_t i = 0; i < all.size(); ++i)
        CHECK(static_cast<float>(rounded[i]) == rounded_to(DType::bf16, all[i]));
}
