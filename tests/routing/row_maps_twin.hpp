// The slow obvious twin of routing/row_maps: every list of rows is written down as tuples and sorted by its
// stated order; a row's number is its place in the list.
#pragma once

#include "base/error.hpp"
#include "tests/routing/random_block.hpp"

#include <tuple>

namespace row_map_tests {

/// What the experts of one part are to a token, ascending; empty: the token does not go there.
inline std::vector<std::int64_t> experts_on(const Block& block, std::int64_t source, std::int64_t token,
                                            std::int64_t part) {
    const std::int32_t* ids = block.sources[at(source)].ids.data() + token * block.shape.top_k;
    std::vector<std::int64_t> experts;
    for (std::int64_t j = 0; j < block.shape.top_k; ++j)
        if (block.shape.experts_of(part).contains(ids[j])) experts.push_back(ids[j]);
    std::sort(experts.begin(), experts.end());
    return experts;
}

struct SentRow {
    std::int64_t expert, token;  // expert: the first local one, or without dedup the one it is for
    auto operator<=>(const SentRow&) const = default;
};

/// By (part, expert, token); experts ascend with parts.
inline std::vector<SentRow> sent_rows(const Block& block, std::int64_t source, std::int64_t part) {
    std::vector<SentRow> rows;
    for (std::int64_t t = 0; t < block.num_tokens(source); ++t) {
        const auto experts = experts_on(block, source, t, part);
        for (std::size_t i = 0; i < experts.size(); ++i)
            if (!block.dedup || i == 0) rows.push_back({experts[i], t});
    }
    std::sort(rows.begin(), rows.end());
    return rows;
}

struct ArrivedRow {
    std::int64_t chunk, source, expert, token;
    auto operator<=>(const ArrivedRow&) const = default;
};

inline std::vector<ArrivedRow> arrived_rows(const Block& block, std::int64_t part) {
    std::vector<ArrivedRow> rows;
    for (std::int64_t s = 0; s < block.shape.num_ranks(); ++s)
        for (const SentRow& sent : sent_rows(block, s, part))
            rows.push_back({block.chunk_of_expert(sent.expert), s, sent.expert, sent.token});
    std::sort(rows.begin(), rows.end());
    return rows;
}

struct ExpertRow {
    std::int64_t expert, source, token;
    auto operator<=>(const ExpertRow&) const = default;
};

inline std::vector<ExpertRow> expert_rows(const Block& block, std::int64_t part) {
    std::vector<ExpertRow> rows;
    for (std::int64_t s = 0; s < block.shape.num_ranks(); ++s)
        for (std::int64_t t = 0; t < block.num_tokens(s); ++t)
            for (const std::int64_t e : experts_on(block, s, t, part)) rows.push_back({e, s, t});
    std::sort(rows.begin(), rows.end());
    return rows;
}

/// A partial sum on its way home, after the last expert of the token there (of the chunk).
struct HomeRow {
    std::int64_t chunk, source, last_expert, token;  // last_expert 0 with per_chunk: ordered by token alone
    auto operator<=>(const HomeRow&) const = default;
};

inline std::vector<HomeRow> home_rows(const Block& block, std::int64_t part) {
    std::vector<HomeRow> rows;
    for (std::int64_t s = 0; s < block.shape.num_ranks(); ++s)
        for (std::int64_t t = 0; t < block.num_tokens(s); ++t) {
            const auto experts = experts_on(block, s, t, part);
            for (std::size_t i = 0; i < experts.size(); ++i) {
                const std::int64_t chunk = block.chunk_of_expert(experts[i]);
                const bool last = i + 1 == experts.size();
                if (block.per_chunk) {
                    if (last || block.chunk_of_expert(experts[i + 1]) != chunk)
                        rows.push_back({chunk, s, 0, t});
                } else if (last) {
                    rows.push_back({chunk, s, experts[i], t});
                }
            }
        }
    std::sort(rows.begin(), rows.end());
    return rows;
}

/// The place of a row in its list.
template <typename Row>
std::int32_t number_of(const std::vector<Row>& rows, const Row& row) {
    const auto found = std::find(rows.begin(), rows.end(), row);
    if (found == rows.end()) throw eps::Error(eps::Exit::internal, "the twin looks for a row that is not");
    return static_cast<std::int32_t>(found - rows.begin());
}

struct HolderMaps {
    std::vector<std::int32_t> expert_order, starts, index;
    std::vector<float> weights;
};

inline HolderMaps holder_maps(const Block& block, std::int64_t part) {
    const auto arrived = arrived_rows(block, part);
    const auto computed = expert_rows(block, part);
    HolderMaps maps;
    for (const ExpertRow& row : computed) {
        const std::int64_t came_for =
            block.dedup ? experts_on(block, row.source, row.token, part).front() : row.expert;
        maps.expert_order.push_back(
            number_of(arrived, {block.chunk_of_expert(came_for), row.source, came_for, row.token}));
    }
    maps.starts.push_back(0);
    for (const HomeRow& row : home_rows(block, part)) {
        const Choices& choices = block.sources[at(row.source)];
        for (std::int64_t j = 0; j < block.shape.top_k; ++j) {  // in slot order
            const std::int64_t slot = row.token * block.shape.top_k + j;
            const std::int64_t expert = choices.ids[at(slot)];
            if (!block.shape.experts_of(part).contains(expert)) continue;
            if (block.per_chunk && block.chunk_of_expert(expert) != row.chunk) continue;
            maps.index.push_back(number_of(computed, {expert, row.source, row.token}));
            maps.weights.push_back(choices.weights[at(slot)]);
        }
        maps.starts.push_back(static_cast<std::int32_t>(maps.index.size()));
    }
    return maps;
}

struct HomeMaps {
    std::vector<std::int32_t> starts, index;
};

/// Rows come home by (chunk, block rank, order at the holder).
inline HomeMaps home_maps(const Block& block, std::int64_t source) {
    using CameRow = std::tuple<std::int64_t, std::int64_t, HomeRow>;  // chunk, block rank, the row there
    std::vector<CameRow> came;
    for (std::int64_t rank = 0; rank < block.shape.num_ranks(); ++rank)
        for (const HomeRow& row : home_rows(block, rank / block.shape.num_shards))
            if (row.source == source) came.emplace_back(row.chunk, rank, row);
    std::sort(came.begin(), came.end());
    HomeMaps maps;
    maps.starts.push_back(0);
    for (std::int64_t t = 0; t < block.num_tokens(source); ++t) {
        std::vector<std::tuple<std::int64_t, std::int64_t, std::int32_t>> of_token;  // rank, chunk, row
        for (std::size_t i = 0; i < came.size(); ++i) {
            const auto& [chunk, rank, row] = came[i];
            if (row.token == t) of_token.emplace_back(rank, chunk, static_cast<std::int32_t>(i));
        }
        std::sort(of_token.begin(), of_token.end());
        for (const auto& entry : of_token) maps.index.push_back(std::get<2>(entry));
        maps.starts.push_back(static_cast<std::int32_t>(maps.index.size()));
    }
    return maps;
}

}  // namespace row_map_tests
