#include "base/random.hpp"
#include "placement/placement.hpp"
#include "tests/catch.hpp"

#include <algorithm>
#include <functional>
#include <numeric>

using namespace eps;
using namespace eps::placement;

namespace {

using Lengths = std::vector<std::int64_t>;

std::vector<std::int64_t> sums_of(const Lengths& lengths, const std::vector<Range>& blocks) {
    std::vector<std::int64_t> sums;
    for (const Range block : blocks)
        sums.push_back(
            std::accumulate(lengths.begin() + block.begin, lengths.begin() + block.end, std::int64_t{0}));
    return sums;
}

/// The slow obvious twin: tries every way to cut, keeps the smallest largest sum, then the fullest earlier
/// blocks.
std::vector<Range> best_of_all_cuts(const Lengths& lengths, std::int64_t num_blocks) {
    const auto num_sequences = static_cast<std::int64_t>(lengths.size());
    std::vector<Range> best, current;
    const std::function<void(std::int64_t)> cut = [&](std::int64_t begin) {
        if (static_cast<std::int64_t>(current.size()) == num_blocks) {
            if (begin != num_sequences) return;
            const auto now = sums_of(lengths, current), before = sums_of(lengths, best);
            const auto now_max = *std::max_element(now.begin(), now.end());
            if (best.empty() || now_max < *std::max_element(before.begin(), before.end()) ||
                (now_max == *std::max_element(before.begin(), before.end()) && now > before))
                best = current;
            return;
        }
        for (std::int64_t end = begin; end <= num_sequences; ++end) {
            current.push_back({begin, end});
            cut(end);
            current.pop_back();
        }
    };
    cut(0);
    return best;
}

}  // namespace

TEST_CASE("blocks are the best of all cuts") {
    for (std::uint64_t round = 0; round < 60; ++round) {
        const auto num_sequences = static_cast<std::int64_t>(random_bits(1, round) % 7);
        Lengths lengths;
        for (std::int64_t i = 0; i < num_sequences; ++i)
            lengths.push_back(
                1 + static_cast<std::int64_t>(random_bits(2 + round, static_cast<std::uint64_t>(i)) % 9));
        for (std::int64_t num_blocks = 1; num_blocks <= 4; ++num_blocks)
            CHECK(balance_sequences(lengths, num_blocks) == best_of_all_cuts(lengths, num_blocks));
    }
}

TEST_CASE("three sequences over two and over eight groups") {
    CHECK(balance_sequences({7, 7, 7}, 2) == std::vector<Range>{{0, 2}, {2, 3}});
    CHECK(balance_sequences({1, 1, 9}, 2) == std::vector<Range>{{0, 2}, {2, 3}});
    CHECK(balance_sequences({9, 1, 1}, 2) == std::vector<Range>{{0, 1}, {1, 3}});
    CHECK(balance_sequences({7, 7, 7}, 8) ==
          std::vector<Range>{{0, 1}, {1, 2}, {2, 3}, {3, 3}, {3, 3}, {3, 3}, {3, 3}, {3, 3}});
    CHECK(balance_sequences({}, 2) == std::vector<Range>{{0, 0}, {0, 0}});
}

TEST_CASE("sums near the limit of 64 bits are balanced") {
    const std::int64_t huge = std::int64_t{1} << 60;
    CHECK(balance_sequences({huge, huge, huge}, 2) == std::vector<Range>{{0, 2}, {2, 3}});
}

TEST_CASE("tokens of one micro-batch over dp groups") {
    const TokenLayout layout = lay_out_tokens({1, 1, 2, 1, 2, 1}, {5, 3, 4}, 1);
    CHECK(layout.sequence_starts == std::vector<std::int64_t>{0, 5, 8, 12});
    REQUIRE(layout.micro_batches.size() == 1);
    const auto& groups = layout.micro_batches[0].groups;
    REQUIRE(groups.size() == 2);
    CHECK(groups[0].sequences == Range{0, 1});
    CHECK(groups[0].tokens == Range{0, 5});
    CHECK(groups[1].sequences == Range{1, 3});
    CHECK(groups[1].tokens == Range{5, 12});
}

TEST_CASE("micro-batches are whole sequences; some may be empty") {
    const TokenLayout layout = lay_out_tokens({4, 1, 1, 1, 1, 1}, {5, 3, 4}, 4);
    REQUIRE(layout.micro_batches.size() == 4);
    std::vector<Range> sequences, tokens;
    for (const auto& micro_batch : layout.micro_batches) {
        REQUIRE(micro_batch.groups.size() == 1);
        CHECK(micro_batch.groups[0].sequences == micro_batch.sequences);
        sequences.push_back(micro_batch.sequences);
        tokens.push_back(micro_batch.groups[0].tokens);
    }
    CHECK(sequences == std::vector<Range>{{0, 0}, {0, 1}, {1, 2}, {2, 3}});
    CHECK(tokens == std::vector<Range>{{0, 0}, {0, 5}, {5, 8}, {8, 12}});
}

TEST_CASE("every token has one group, for uneven batches, groups and micro-batches") {
    const Lengths lengths{5, 1, 7, 2, 2, 11, 3};
    for (std::int64_t dp = 1; dp <= 8; ++dp)
        for (std::int64_t num_micro_batches = 1; num_micro_batches <= 9; ++num_micro_batches) {
            const TokenLayout layout = lay_out_tokens({1, 1, dp, 1, 1, dp}, lengths, num_micro_batches);
            std::int64_t next_sequence = 0, next_token = 0;
            for (const auto& micro_batch : layout.micro_batches) {
                REQUIRE(static_cast<std::int64_t>(micro_batch.groups.size()) == dp);
                for (const auto& group : micro_batch.groups) {
                    CHECK(group.sequences.begin == next_sequence);
                    CHECK(group.tokens.begin == next_token);
                    next_sequence = group.sequences.end;
                    next_token = group.tokens.end;
                }
            }
            CHECK(next_sequence == 7);
            CHECK(next_token == 31);
        }
}
