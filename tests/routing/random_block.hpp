// Random blocks for tests of row maps: shapes that nothing divides, choices of experts, and every way of
// travelling.
#pragma once

#include "base/random.hpp"
#include "routing/row_maps.hpp"

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <string>
#include <vector>

namespace row_map_tests {

using eps::at;

/// A stream of random numbers.
struct Dice {
    std::uint64_t key;
    std::uint64_t rolled = 0;
    /// In [low, high].
    std::int64_t roll(std::int64_t low, std::int64_t high) {
        return low + static_cast<std::int64_t>(eps::random_bits(key, rolled++) %
                                               static_cast<std::uint64_t>(high - low + 1));
    }
};

/// What the tokens of one source rank chose: [tokens, top_k].
struct Choices {
    std::vector<std::int32_t> ids;
    std::vector<float> weights;  // small whole numbers: sums of products are exact
};

struct Block {
    eps::routing::BlockShape shape;
    std::int64_t chunks = 1;
    bool dedup = true;
    bool per_chunk = false;
    std::vector<std::int64_t> chunk_bounds;  // [part][chunks + 1]
    std::vector<Choices> sources;            // per block rank

    std::int64_t num_tokens(std::int64_t source) const {
        return std::ssize(sources[at(source)].ids) / shape.top_k;
    }
    eps::routing::Chunks chunks_of_parts() const { return {shape, chunk_bounds}; }
    /// The chunk that holds the expert, by looking at all of them.
    std::int64_t chunk_of_expert(std::int64_t expert) const {
        for (std::int64_t c = 0;; ++c)
            if (chunks_of_parts().of(shape.part_of_expert(expert), c).contains(expert)) return c;
    }
    std::string about() const {
        return std::to_string(shape.num_experts) + " experts, " + std::to_string(shape.num_parts) +
               " parts x " + std::to_string(shape.num_shards) + " shards, top " +
               std::to_string(shape.top_k) + ", " + std::to_string(chunks) + " chunks" +
               (dedup ? ", dedup" : "") + (per_chunk ? ", per chunk" : "");
    }
};

inline Choices choose(const eps::routing::BlockShape& shape, std::int64_t num_tokens, Dice& dice) {
    Choices choices;
    std::vector<std::int32_t> experts(at(shape.num_experts));
    std::iota(experts.begin(), experts.end(), 0);
    for (std::int64_t t = 0; t < num_tokens; ++t)
        for (std::int64_t j = 0; j < shape.top_k; ++j) {
            std::swap(experts[at(j)], experts[at(dice.roll(j, shape.num_experts - 1))]);
            choices.ids.push_back(experts[at(j)]);
            choices.weights.push_back(static_cast<float>(dice.roll(1, 9)));
        }
    return choices;
}

/// Block number `number` of the random ones; the first few are the uneven shapes of interest.
inline Block random_block(std::uint64_t number) {
    Dice dice{eps::stream_key(number, "block")};
    Block block;
    constexpr std::int64_t kUneven[][3] = {{15, 4, 1}, {3, 4, 1}, {15, 4, 2},
                                           {1, 3, 3},  {8, 1, 1}, {5, 1, 2}};
    if (number < std::size(kUneven)) {
        block.shape = {kUneven[number][0], kUneven[number][1], kUneven[number][2], 1};
    } else {
        block.shape = {dice.roll(1, 20), dice.roll(1, 6), dice.roll(1, 3), 1};
    }
    block.shape.top_k = dice.roll(1, std::min<std::int64_t>(8, block.shape.num_experts));
    block.chunks = dice.roll(1, block.shape.num_experts + 2);
    block.dedup = dice.roll(0, 1) == 1;
    block.per_chunk = dice.roll(0, 1) == 1;
    eps::routing::divide_evenly(block.shape, block.chunks, block.chunk_bounds);
    if (!block.per_chunk && number % 2 == 1)  // as any load may ask
        for (std::int64_t p = 0; p < block.shape.num_parts; ++p) {
            const auto of_part = block.chunk_bounds.begin() + p * (block.chunks + 1);
            for (std::int64_t c = 1; c < block.chunks; ++c)
                of_part[c] = dice.roll(of_part[0], of_part[block.chunks]);
            std::sort(of_part, of_part + block.chunks);
        }
    for (std::int64_t s = 0; s < block.shape.num_ranks(); ++s)
        block.sources.push_back(choose(block.shape, dice.roll(0, 3) == 0 ? 0 : dice.roll(0, 12), dice));
    return block;
}

/// What the library makes of a source's choices.
struct Routed {
    std::vector<std::int32_t> counts, send_order, sent_slots;
};

inline Routed route(const Block& block, std::int64_t source) {
    const Choices& choices = block.sources[at(source)];
    const std::int64_t fields = eps::routing::num_count_fields(block.per_chunk);
    Routed routed;
    routed.counts.assign(at(block.shape.num_experts * fields), -1);
    routed.send_order.assign(choices.ids.size(), -1);
    routed.sent_slots.assign(choices.ids.size() * at(block.shape.slot_columns()), -7);
    const std::int64_t num_sent =
        eps::routing::route(block.shape, choices.ids, choices.weights, block.per_chunk ? block.chunks : 0,
                            block.dedup, routed.counts, routed.send_order, routed.sent_slots);
    routed.send_order.resize(at(num_sent));
    routed.sent_slots.resize(at(num_sent * block.shape.slot_columns()));
    return routed;
}

/// All-gathered counts of a block, and the view of them.
struct Counts {
    std::vector<std::int32_t> numbers;
    eps::routing::CountsView view;

    Counts(const Block& block, const std::vector<Routed>& routed) {
        for (const Routed& r : routed) numbers.insert(numbers.end(), r.counts.begin(), r.counts.end());
        view = {numbers.data(), block.shape.num_ranks(), block.shape.num_experts,
                eps::routing::num_count_fields(block.per_chunk)};
    }
    Counts(const Counts&) = delete;
    Counts& operator=(const Counts&) = delete;

    std::int64_t sum(std::int64_t source, eps::Range experts, eps::routing::CountField field) const {
        std::int64_t total = 0;
        for (std::int64_t e = experts.begin; e < experts.end; ++e) total += view.at(source, e, field);
        return total;
    }
};

}  // namespace row_map_tests
