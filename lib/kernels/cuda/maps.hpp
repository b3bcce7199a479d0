// Row maps of an exchange made on the device (routing/row_maps.hpp defines them; results are equal in every
// value). Tokens go in tiles of 32, a warp each: which tokens of a tile have an expert is one word of bits,
// so a token's place among them is a count of bits, and no order depends on timing.
#pragma once

#include "kernels/cuda/kernels.hpp"

#include <cstddef>
#include <cstdint>

namespace eps::kernels::device {

/// The block of ranks and how every part's experts form chunks, on the device. Part p holds experts
/// [part_begin[p], part_begin[p + 1]); chunk c of it begins at chunk_bounds[p * (num_chunks + 1) + c].
struct Block {
    std::int64_t num_experts = 0;
    std::int64_t num_parts = 1;
    std::int64_t num_shards = 1;
    std::int64_t top_k = 1;  // at most kMostTopK
    std::int64_t num_chunks = 1;
    const std::int32_t* part_begin = nullptr;    // [num_parts + 1]
    const std::int32_t* chunk_bounds = nullptr;  // [num_parts, num_chunks + 1]
    bool dedup = true;
    bool per_chunk = false;
};

inline constexpr std::int64_t kMostTopK = 32;

/// Scratch memory that any of the three needs for so many tokens (map_rows: of all sources together).
std::size_t map_workspace_bytes(const Block& block, std::int64_t num_tokens, std::int64_t num_sources);

/// At the source: counts [E, fields], send_order [sent], sent_slots [sent, 1 + 2 * top_k].
void route(Stream stream, const Block& block, const std::int32_t* ids, const float* weights,
           std::int64_t num_tokens, std::int32_t* counts, std::int32_t* send_order, std::int32_t* sent_slots,
           void* workspace);

struct DeviceReduceMaps {
    std::int32_t* starts = nullptr;  // [num_home + 1]
    std::int32_t* index = nullptr;
    float* weights = nullptr;
};

/// At the holder of `part`. counts [num_sources, E, fields], which say how many rows arrived and how many
/// sums go home: no argument depends on them. slots [most_arrived, 1 + 2 * top_k]; reduce.starts [most_home +
/// 1], of which those behind the last sum's end mean nothing; every source numbers its tokens from 0 below
/// `most_tokens`.
void map_rows(Stream stream, const Block& block, std::int64_t part, const std::int32_t* counts,
              std::int64_t num_sources, const std::int32_t* slots, std::int64_t most_arrived,
              std::int64_t most_tokens, std::int64_t most_home, std::int32_t* expert_order,
              const DeviceReduceMaps& reduce, void* workspace);

/// Where nothing travels (routing::count_rows, routing::map_rows_at_home): counts [E, 3], of which only the
/// rows mean anything; and the maps, where arrived row = token = home row. One part, one chunk.
void count_rows(Stream stream, const Block& block, const std::int32_t* ids, std::int64_t num_tokens,
                std::int32_t* counts, void* workspace);
void map_rows_at_home(Stream stream, const Block& block, const std::int32_t* ids, const float* weights,
                      std::int64_t num_tokens, std::int32_t* expert_order, const DeviceReduceMaps& reduce,
                      void* workspace);

/// At the source: starts [num_tokens + 1], index.
void map_home(Stream stream, const Block& block, const std::int32_t* ids, std::int64_t num_tokens,
              std::int32_t* starts, std::int32_t* index, void* workspace);

}  // namespace eps::kernels::device
