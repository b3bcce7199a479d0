#include "base/error.hpp"
#include "placement/placement.hpp"

#include <algorithm>
#include <numeric>

#include <fmt/core.h>

namespace eps::placement {
namespace {

using Lengths = std::vector<std::int64_t>;

/// The end of the longest run of sequences from `begin` whose sum is at most `largest_sum`.
std::int64_t fill_block(const Lengths& lengths, std::int64_t begin, std::int64_t largest_sum) {
    const auto num_sequences = static_cast<std::int64_t>(lengths.size());
    std::int64_t end = begin;
    for (std::int64_t sum = 0; end < num_sequences; ++end) {
        sum += lengths[static_cast<std::size_t>(end)];
        if (sum > largest_sum) break;
    }
    return end;
}

bool fits(const Lengths& lengths, std::int64_t num_blocks, std::int64_t largest_sum) {
    std::int64_t begin = 0;
    for (std::int64_t block_idx = 0; block_idx < num_blocks; ++block_idx)
        begin = fill_block(lengths, begin, largest_sum);
    return begin == static_cast<std::int64_t>(lengths.size());
}

/// The smallest sum that is enough for `num_blocks` blocks: by bisection, since more room never fits less.
std::int64_t smallest_largest_sum(const Lengths& lengths, std::int64_t num_blocks) {
    std::int64_t too_small = -1;
    std::int64_t enough = std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0});
    while (enough - too_small > 1) {
        const std::int64_t middle = too_small + (enough - too_small) / 2;
        (fits(lengths, num_blocks, middle) ? enough : too_small) = middle;
    }
    return enough;
}

}  // namespace

std::vector<Range> balance_sequences(const std::vector<std::int64_t>& lengths, std::int64_t num_blocks) {
    if (num_blocks < 1) throw Error(Exit::internal, fmt::format("sequences for {} blocks", num_blocks));
    const std::int64_t largest_sum = smallest_largest_sum(lengths, num_blocks);
    std::vector<Range> blocks;
    std::int64_t begin = 0;
    for (std::int64_t block_idx = 0; block_idx < num_blocks; ++block_idx) {
        const std::int64_t end = fill_block(lengths, begin, largest_sum);
        blocks.push_back({begin, end});
        begin = end;
    }
    return blocks;
}

TokenLayout lay_out_tokens(const Placement& placement, const std::vector<std::int64_t>& sequence_lengths,
                           std::int64_t num_micro_batches) {
    TokenLayout layout;
    layout.sequence_starts.assign(1, 0);
    for (const std::int64_t length : sequence_lengths)
        layout.sequence_starts.push_back(layout.sequence_starts.back() + length);
    const auto batch = static_cast<std::int64_t>(sequence_lengths.size());
    const auto start_of = [&](std::int64_t sequence) {
        return layout.sequence_starts[static_cast<std::size_t>(sequence)];
    };

    for (std::int64_t i = 0; i < num_micro_batches; ++i) {
        const Range sequences = part_of(batch, num_micro_batches, i);
        TokenLayout::MicroBatch micro_batch{sequences, {}};
        const Lengths lengths(sequence_lengths.begin() + sequences.begin,
                              sequence_lengths.begin() + sequences.end);
        for (const Range block : balance_sequences(lengths, placement.attention_dp)) {
            const Range of_batch{sequences.begin + block.begin, sequences.begin + block.end};
            micro_batch.groups.push_back({of_batch, {start_of(of_batch.begin), start_of(of_batch.end)}});
        }
        layout.micro_batches.push_back(std::move(micro_batch));
    }
    return layout;
}

}  // namespace eps::placement
