// Who sends which row where, and in which order it is computed and summed (design sections 5 and 6): integer
// work on expert ids, without any row. All functions are pure; orders never depend on arrival.
//
// Inside a block, expert part p of `num_parts` holds experts part_of(E, num_parts, p), in `num_shards`
// members (etp); block rank of a member is p * num_shards + shard. Every rank of the block is a source of
// rows. Each part's experts form the same number of chunks, of neighbouring experts (Chunks).
#pragma once

#include "base/range.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace eps::routing {

/// What is counted per source rank and expert.
enum CountField : std::int64_t {
    kRows,        // rows the expert computes
    kFirst,       // tokens whose first local expert on its rank it is
    kLast,        // tokens whose last local expert on its rank it is
    kChunkFirst,  // tokens whose first expert in its chunk it is; present with combine per_chunk only
};
constexpr std::int64_t num_count_fields(bool per_chunk) {
    return per_chunk ? 4 : 3;
}

/// counts[source][expert][field], i32.
struct CountsView {
    const std::int32_t* data = nullptr;
    std::int64_t num_sources = 0;
    std::int64_t num_experts = 0;
    std::int64_t num_fields = 3;

    std::int64_t at(std::int64_t source, std::int64_t expert, CountField field) const {
        return data[(source * num_experts + expert) * num_fields + field];
    }
};

struct BlockShape {
    std::int64_t num_experts = 0;
    std::int64_t num_parts = 1;
    std::int64_t num_shards = 1;
    std::int64_t top_k = 1;

    std::int64_t num_ranks() const { return num_parts * num_shards; }
    Range experts_of(std::int64_t part) const { return part_of(num_experts, num_parts, part); }
    std::int64_t part_of_expert(std::int64_t expert) const {
        return part_holding(num_experts, num_parts, expert);
    }
    /// Ints that travel with a row: its token number, its expert ids (-1 where the destination lacks them),
    /// its weights' bits.
    std::int64_t slot_columns() const { return 1 + 2 * top_k; }
};

/// A chunk's experts where a part's experts are divided evenly, as global expert numbers.
inline Range chunk_of(Range experts, std::int64_t num_chunks, std::int64_t chunk) {
    const Range local = part_of(experts.size(), num_chunks, chunk);
    return {experts.begin + local.begin, experts.begin + local.end};
}

/// How the experts of every part form chunks. `bounds` [part][chunks + 1], global expert numbers: chunk c of
/// part p begins at bounds[p][c] and ends at bounds[p][c + 1]; chunks may be empty.
class Chunks {
  public:
    /// The bounds are not copied.
    Chunks(const BlockShape& shape, std::span<const std::int64_t> bounds)
        : bounds_(bounds), num_chunks_(std::ssize(bounds) / shape.num_parts - 1) {}

    std::int64_t size() const { return num_chunks_; }
    Range of(std::int64_t part, std::int64_t chunk) const {
        const std::size_t i = at(part * (num_chunks_ + 1) + chunk);
        return {bounds_[i], bounds_[i + 1]};
    }

  private:
    std::span<const std::int64_t> bounds_;
    std::int64_t num_chunks_;
};

/// The bounds of `num_chunks` chunks of as many experts each as chunk_of gives.
void divide_evenly(const BlockShape& shape, std::int64_t num_chunks, std::vector<std::int64_t>& bounds);

/// Which field counts the rows that travel out, and that go home.
inline CountField out_field(bool dedup) {
    return dedup ? kFirst : kRows;
}
inline CountField home_field(bool per_chunk) {
    return per_chunk ? kChunkFirst : kLast;
}

/// At the source. ids, weights: [num_tokens, top_k], slots by descending score.
/// counts [E, num_count_fields]; send_order: token of each sent row, by (part, first local expert, token), or
/// without dedup by (expert, token); sent_slots [sent rows, slot_columns()]. Room for num_tokens * top_k rows
/// is always enough. chunks > 0 (combine per_chunk: so many even ones) counts kChunkFirst too. Returns the
/// number of sent rows.
std::int64_t route(const BlockShape& shape, std::span<const std::int32_t> ids, std::span<const float> weights,
                   std::int64_t chunks, bool dedup, std::span<std::int32_t> counts,
                   std::span<std::int32_t> send_order, std::span<std::int32_t> sent_slots);

/// Rows per expert alone (the other fields 0): all that is counted where nothing travels.
void count_rows(std::span<const std::int32_t> ids, std::span<std::int32_t> counts, std::int64_t num_fields);

/// The sums that go home: CSR over home rows (chunk, source, then last local expert and token; per_chunk:
/// chunk, source, token).
struct ReduceMaps {
    std::span<std::int32_t> starts;  // home rows + 1
    std::span<std::int32_t> index;   // expert row
    std::span<float> weights;
};

/// At the holder of `part`. `slots` [arrived rows, slot_columns()]: what arrived, source after source, each
/// in its send order. Arrived rows are numbered (chunk, source, send order). expert_order [expert rows]: the
/// arrived row of each row the experts compute, by (expert, source, token).
void map_rows(const BlockShape& shape, std::int64_t part, const CountsView& counts,
              std::span<const std::int32_t> slots, const Chunks& chunks, bool dedup, bool per_chunk,
              std::span<std::int32_t> expert_order, const ReduceMaps& reduce);

/// The same where nothing travels (one part): arrived row = token, home row = token.
void map_rows_at_home(const BlockShape& shape, std::span<const std::int32_t> ids,
                      std::span<const float> weights, std::span<std::int32_t> expert_order,
                      const ReduceMaps& reduce);

/// At the source: where the rows that come home lie, CSR over its tokens, by ascending block rank (then
/// chunk). Rows come home numbered (chunk, block rank, order of ReduceMaps). starts: num_tokens + 1. Returns
/// the number of entries.
std::int64_t map_home(const BlockShape& shape, std::span<const std::int32_t> ids, const Chunks& chunks,
                      bool per_chunk, std::span<std::int32_t> starts, std::span<std::int32_t> index);

}  // namespace eps::routing
