// Row maps against their slow obvious twin, on random blocks.
#include "tests/catch.hpp"
#include "tests/routing/row_maps_twin.hpp"

#include <bit>

using namespace eps;
using namespace eps::routing;
using namespace row_map_tests;

namespace {

constexpr std::uint64_t kNumBlocks = 400;

std::vector<Routed> route_all(const Block& block) {
    std::vector<Routed> routed;
    for (std::int64_t s = 0; s < block.shape.num_ranks(); ++s) routed.push_back(route(block, s));
    return routed;
}

// What arrives at `part`: source after source, each in its send order.
std::vector<std::int32_t> slots_at(const Block& block, const std::vector<Routed>& routed, std::int64_t part) {
    const std::int64_t columns = block.shape.slot_columns();
    std::vector<std::int32_t> slots;
    for (std::int64_t s = 0; s < block.shape.num_ranks(); ++s) {
        std::int64_t begin = 0;
        for (std::int64_t p = 0; p < part; ++p) begin += std::ssize(sent_rows(block, s, p));
        const auto from = routed[at(s)].sent_slots.begin() + begin * columns;
        slots.insert(slots.end(), from, from + std::ssize(sent_rows(block, s, part)) * columns);
    }
    return slots;
}

}  // namespace

TEST_CASE("route counts, orders and describes the rows of a source as the twin does") {
    for (std::uint64_t number = 0; number < kNumBlocks; ++number) {
        const Block block = random_block(number);
        INFO("block " << number << ": " << block.about());
        for (std::int64_t s = 0; s < block.shape.num_ranks(); ++s) {
            const Routed routed = route(block, s);
            const std::int64_t k = block.shape.top_k;
            const std::int64_t fields = num_count_fields(block.per_chunk);
            std::vector<std::int32_t> counts(at(block.shape.num_experts * fields));
            const auto count = [&](std::int64_t expert, CountField field) {
                ++counts[at(expert * fields + field)];
            };
            std::vector<std::int32_t> order, slots;
            for (std::int64_t part = 0; part < block.shape.num_parts; ++part) {
                for (std::int64_t t = 0; t < block.num_tokens(s); ++t) {
                    const auto experts = experts_on(block, s, t, part);
                    if (experts.empty()) continue;
                    for (const std::int64_t e : experts) count(e, kRows);
                    count(experts.front(), kFirst);
                    count(experts.back(), kLast);
                    std::int64_t chunk = -1;
                    for (const std::int64_t e : experts)
                        if (block.per_chunk && block.chunk_of_expert(e) != chunk) {
                            chunk = block.chunk_of_expert(e);
                            count(e, kChunkFirst);
                        }
                }
                for (const SentRow& row : sent_rows(block, s, part)) {
                    order.push_back(static_cast<std::int32_t>(row.token));
                    slots.push_back(order.back());
                    const Choices& choices = block.sources[at(s)];
                    for (std::int64_t j = 0; j < k; ++j) {
                        const std::int32_t id = choices.ids[at(row.token * k + j)];
                        slots.push_back(block.shape.experts_of(part).contains(id) ? id : -1);
                    }
                    for (std::int64_t j = 0; j < k; ++j)
                        slots.push_back(std::bit_cast<std::int32_t>(choices.weights[at(row.token * k + j)]));
                }
            }
            REQUIRE(routed.counts == counts);
            REQUIRE(routed.send_order == order);
            REQUIRE(routed.sent_slots == slots);
        }
    }
}

TEST_CASE("map_rows orders expert rows and sums as the twin does") {
    for (std::uint64_t number = 0; number < kNumBlocks; ++number) {
        const Block block = random_block(number);
        INFO("block " << number << ": " << block.about());
        const std::vector<Routed> routed = route_all(block);
        const Counts counts(block, routed);
        for (std::int64_t part = 0; part < block.shape.num_parts; ++part) {
            const HolderMaps expected = holder_maps(block, part);
            HolderMaps maps;
            // More room than needed: buffers keep the rows of larger layers.
            maps.expert_order.assign(expected.expert_order.size() + 3, -5);
            maps.starts.assign(expected.starts.size() + 3, -5);
            maps.index.assign(expected.index.size() + 3, -5);
            maps.weights.assign(expected.index.size() + 3, -5);
            map_rows(block.shape, part, counts.view, slots_at(block, routed, part), block.chunks_of_parts(),
                     block.dedup, block.per_chunk, maps.expert_order,
                     {maps.starts, maps.index, maps.weights});
            maps.expert_order.resize(expected.expert_order.size());
            maps.starts.resize(expected.starts.size());
            maps.index.resize(expected.index.size());
            maps.weights.resize(expected.index.size());
            REQUIRE(maps.expert_order == expected.expert_order);
            REQUIRE(maps.starts == expected.starts);
            REQUIRE(maps.index == expected.index);
            REQUIRE(maps.weights == expected.weights);
        }
    }
}

TEST_CASE("map_home finds the rows that come home as the twin does") {
    for (std::uint64_t number = 0; number < kNumBlocks; ++number) {
        const Block block = random_block(number);
        INFO("block " << number << ": " << block.about());
        for (std::int64_t s = 0; s < block.shape.num_ranks(); ++s) {
            const HomeMaps expected = home_maps(block, s);
            HomeMaps maps;
            maps.starts.assign(expected.starts.size(), -5);
            maps.index.assign(expected.index.size(), -5);
            const std::int64_t num_entries =
                map_home(block.shape, block.sources[at(s)].ids, block.chunks_of_parts(), block.per_chunk,
                         maps.starts, maps.index);
            REQUIRE(num_entries == std::ssize(expected.index));
            REQUIRE(maps.starts == expected.starts);
            REQUIRE(maps.index == expected.index);
        }
    }
}

TEST_CASE("where nothing travels, rows are those of one part whose rows arrive by token") {
    for (std::uint64_t number = 0; number < kNumBlocks; ++number) {
        Block block = random_block(number);
        block.shape.num_parts = block.shape.num_shards = 1;
        divide_evenly(block.shape, block.chunks, block.chunk_bounds);
        block.sources.resize(1);
        INFO("block " << number << ": " << block.about());
        const Choices& choices = block.sources[0];
        const std::int64_t num_tokens = block.num_tokens(0);

        std::vector<std::int32_t> counts(at(block.shape.num_experts * 3), -1), expected_counts(counts.size());
        for (const std::int32_t id : choices.ids) ++expected_counts[at(id * 3 + kRows)];
        count_rows(choices.ids, counts, 3);
        REQUIRE(counts == expected_counts);

        HolderMaps maps;
        maps.expert_order.assign(choices.ids.size(), -5);
        maps.starts.assign(at(num_tokens + 1), -5);
        maps.index.assign(choices.ids.size(), -5);
        maps.weights.assign(choices.ids.size(), -5);
        map_rows_at_home(block.shape, choices.ids, choices.weights, maps.expert_order,
                         {maps.starts, maps.index, maps.weights});
        const auto computed = expert_rows(block, 0);
        REQUIRE(computed.size() == maps.expert_order.size());
        for (std::size_t i = 0; i < computed.size(); ++i) REQUIRE(maps.expert_order[i] == computed[i].token);
        for (std::int64_t t = 0; t <= num_tokens; ++t) REQUIRE(maps.starts[at(t)] == t * block.shape.top_k);
        for (std::int64_t i = 0; i < std::ssize(choices.ids); ++i) {
            const ExpertRow row{choices.ids[at(i)], 0, i / block.shape.top_k};
            REQUIRE(maps.index[at(i)] == number_of(computed, row));
            REQUIRE(maps.weights[at(i)] == choices.weights[at(i)]);
        }
    }
}
