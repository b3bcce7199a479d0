#include "kernels/cuda/maps.hpp"
#include "kernels/cuda/vector.cuh"

#include <algorithm>
#include <map>

#include <cub/device/device_scan.cuh>

namespace eps::kernels::device {
namespace {

constexpr unsigned kAllLanes = 0xffffffffU;

// What is counted of a token at one of its experts. The order of routing::CountField.
enum Field : int { kRows, kFirst, kLast, kChunkFirst, kMostFields };

__device__ int part_of(const Block& block, int expert) {
    return static_cast<int>(((expert + 1) * block.num_parts - 1) / block.num_experts);
}

__device__ const std::int32_t* bounds_of(const Block& block, int part) {
    return block.chunk_bounds + part * (block.num_chunks + 1);
}

__device__ int chunk_of(const Block& block, int expert) {
    const std::int32_t* bounds = bounds_of(block, part_of(block, expert));
    int chunk = 0;
    while (expert >= bounds[chunk + 1]) ++chunk;
    return chunk;
}

// A token's expert ids (-1: none), and how slot j stands among those of its part.
struct Token {
    const std::int32_t* ids = nullptr;  // null: no token

    __device__ bool same(const Block& block, int i, int j, bool by_chunk) const {
        if (ids[i] < 0 || part_of(block, ids[i]) != part_of(block, ids[j])) return false;
        return !by_chunk || chunk_of(block, ids[i]) == chunk_of(block, ids[j]);
    }
    __device__ bool is_first(const Block& block, int j, bool by_chunk = false) const {
        for (int i = 0; i < block.top_k; ++i)
            if (ids[i] < ids[j] && same(block, i, j, by_chunk)) return false;
        return true;
    }
    __device__ bool is_last(const Block& block, int j, bool by_chunk = false) const {
        for (int i = 0; i < block.top_k; ++i)
            if (ids[i] > ids[j] && same(block, i, j, by_chunk)) return false;
        return true;
    }
    /// The key under which the sum that slot j ends is booked: see routing::map_rows.
    __device__ int home_key(const Block& block, int j) const {
        if (!block.per_chunk) return ids[j];
        return bounds_of(block, part_of(block, ids[j]))[chunk_of(block, ids[j])];
    }
};

// The tokens of source `blockIdx.y` that one warp takes: 32 neighbours.
struct OwnTokens {
    const std::int32_t* ids;
    std::int64_t num_tokens;
    __device__ Token at(const Block& block, std::int64_t token) const {
        return {token < num_tokens ? ids + token * block.top_k : nullptr};
    }
};

struct ArrivedTokens {
    const std::int32_t* slots;
    const std::int32_t* row_of;  // [sources, most_tokens]: row of slots, or -1
    std::int64_t most_tokens;
    __device__ std::int32_t row(std::int64_t token) const {
        return token < most_tokens ? row_of[blockIdx.y * most_tokens + token] : -1;
    }
    __device__ Token at(const Block& block, std::int64_t token) const {
        const std::int32_t found = row(token);
        return {found < 0 ? nullptr : slots + found * (1 + 2 * block.top_k) + 1};
    }
};

// masks [fields, experts] in shared memory: which lanes' tokens have (field, expert).
template <typename Tokens>
__device__ Token mark(const Block& block, const Tokens& tokens, int num_fields, unsigned* masks) {
    const int lane = static_cast<int>(threadIdx.x);
    const int n = static_cast<int>(block.num_experts);
    for (int i = lane; i < num_fields * n; i += 32) masks[i] = 0;
    __syncwarp();
    const Token token = tokens.at(block, std::int64_t{blockIdx.x} * 32 + lane);
    if (token.ids != nullptr)
        for (int j = 0; j < block.top_k; ++j) {
            const int e = token.ids[j];
            if (e < 0) continue;
            const unsigned bit = 1U << lane;
            atomicOr(masks + kRows * n + e, bit);
            if (token.is_first(block, j)) atomicOr(masks + kFirst * n + e, bit);
            if (num_fields == kMostFields) {  // at the source
                if (token.is_last(block, j)) atomicOr(masks + kLast * n + e, bit);
                if (block.per_chunk && token.is_first(block, j, true))
                    atomicOr(masks + kChunkFirst * n + e, bit);
            } else if (token.is_last(block, j, block.per_chunk)) {  // at the holder: sums that go home
                atomicOr(masks + kLast * n + token.home_key(block, j), bit);
            }
        }
    __syncwarp();
    return token;
}

// tile_counts [sources, tiles, fields, experts]
__device__ std::int32_t* tile_of(std::int32_t* tile_counts, int num_fields, std::int64_t num_experts) {
    return tile_counts + (blockIdx.y * std::int64_t{gridDim.x} + blockIdx.x) * num_fields * num_experts;
}

template <typename Tokens>
__global__ void count_kernel(Block block, Tokens tokens, int num_fields, std::int32_t* tile_counts) {
    extern __shared__ unsigned masks[];
    mark(block, tokens, num_fields, masks);
    std::int32_t* counts = tile_of(tile_counts, num_fields, block.num_experts);
    for (int i = static_cast<int>(threadIdx.x); i < num_fields * block.num_experts; i += 32)
        counts[i] = __popc(masks[i]);
}

// Exclusive sums over the tiles of a source, in place; one warp an entry, its total to totals [sources,
// fields, experts].
__global__ void scan_tiles_kernel(std::int32_t* tile_counts, std::int64_t num_tiles, std::int64_t entries,
                                  std::int32_t* totals) {
    const int lane = static_cast<int>(threadIdx.x);
    std::int32_t* column = tile_counts + blockIdx.y * num_tiles * entries + blockIdx.x;
    std::int32_t total = 0;
    for (std::int64_t first = 0; first < num_tiles; first += 32) {
        const std::int64_t tile = first + lane;
        const std::int32_t own = tile < num_tiles ? column[tile * entries] : 0;
        std::int32_t sum = own;
#pragma unroll
        for (int offset = 1; offset < 32; offset *= 2) {
            const std::int32_t before = __shfl_up_sync(kAllLanes, sum, offset);
            if (lane >= offset) sum += before;
        }
        if (tile < num_tiles) column[tile * entries] = total + sum - own;
        total += __shfl_sync(kAllLanes, sum, 31);
    }
    if (lane == 0) totals[blockIdx.y * entries + blockIdx.x] = total;
}

// A token's place among those of its tile and source with (field, expert).
__device__ std::int32_t place(const unsigned* masks, const std::int32_t* before, const Block& block,
                              Field field, int expert) {
    const std::int64_t i = field * block.num_experts + expert;
    return before[i] + __popc(masks[i] & ((1U << threadIdx.x) - 1));
}

// ---- At the source

// counts (may be null) [E, fields] of the report's order, and where each expert's sent rows begin.
__global__ void route_layout_kernel(Block block, const std::int32_t* totals, int num_fields,
                                    std::int32_t* counts, std::int32_t* begin) {
    const std::int64_t n = block.num_experts;
    for (std::int64_t i = threadIdx.x; counts != nullptr && i < n * num_fields; i += blockDim.x)
        counts[i] = totals[i % num_fields * n + i / num_fields];
    if (threadIdx.x != 0) return;
    const std::int32_t* out = totals + (block.dedup ? kFirst : kRows) * n;
    std::int32_t row = 0;
    for (std::int64_t e = 0; e < n; ++e) {
        begin[e] = row;
        row += out[e];
    }
}

__global__ void route_place_kernel(Block block, OwnTokens tokens, const float* weights,
                                   std::int32_t* tile_counts, const std::int32_t* begin,
                                   std::int32_t* send_order, std::int32_t* sent_slots) {
    extern __shared__ unsigned masks[];
    const Token token = mark(block, tokens, kMostFields, masks);
    if (token.ids == nullptr) return;
    const std::int32_t* before = tile_of(tile_counts, kMostFields, block.num_experts);
    const int k = static_cast<int>(block.top_k);
    const std::int64_t t = std::int64_t{blockIdx.x} * 32 + threadIdx.x;
    for (int j = 0; j < k; ++j) {
        if (block.dedup && !token.is_first(block, j)) continue;
        const int e = token.ids[j];
        const std::int64_t row = begin[e] + place(masks, before, block, block.dedup ? kFirst : kRows, e);
        send_order[row] = static_cast<std::int32_t>(t);
        std::int32_t* slots = sent_slots + row * (1 + 2 * k);
        slots[0] = static_cast<std::int32_t>(t);
        for (int i = 0; i < k; ++i) {
            slots[1 + i] = token.same(block, i, j, false) ? token.ids[i] : -1;
            slots[1 + k + i] = __float_as_int(weights[t * k + i]);
        }
    }
}

// ---- Where nothing travels

__global__ void at_home_place_kernel(Block block, OwnTokens tokens, const float* weights,
                                     std::int32_t* tile_counts, const std::int32_t* begin,
                                     std::int32_t* expert_order, DeviceReduceMaps reduce) {
    extern __shared__ unsigned masks[];
    const Token token = mark(block, tokens, kMostFields - 1, masks);
    if (token.ids == nullptr) return;
    const std::int32_t* before = tile_of(tile_counts, kMostFields - 1, block.num_experts);
    const int k = static_cast<int>(block.top_k);
    const std::int64_t t = std::int64_t{blockIdx.x} * 32 + threadIdx.x;
    for (int j = 0; j < k; ++j) {
        const int e = token.ids[j];
        const std::int32_t row = begin[e] + place(masks, before, block, kRows, e);
        expert_order[row] = static_cast<std::int32_t>(t);
        reduce.index[t * k + j] = row;
        reduce.weights[t * k + j] = weights[t * k + j];
    }
    reduce.starts[t] = static_cast<std::int32_t>(t * k);
    if (t + 1 == tokens.num_tokens) reduce.starts[t + 1] = static_cast<std::int32_t>((t + 1) * k);
}

// ---- At the holder

// First rows of (expert, source): expert rows, home rows, arrived rows; [sources, E] each. Where each
// source's slots begin, [sources + 1]. And a 0 behind the sums that go home, whose lengths come to `starts`:
// their running sum follows. One thread each: a few hundred additions.
__global__ void holder_layout_kernel(Block block, int part, const std::int32_t* counts, int num_sources,
                                     int num_fields, std::int32_t* first_expert_row,
                                     std::int32_t* first_home_row, std::int32_t* first_arrived_row,
                                     std::int32_t* slots_begin, std::int32_t* starts) {
    extern __shared__ unsigned shared[];
    auto* mine = reinterpret_cast<std::int32_t*>(shared);  // [sources, local experts, fields]
    const int begin = block.part_begin[part], end = block.part_begin[part + 1];
    const int local = end - begin;
    for (int i = static_cast<int>(threadIdx.x); i < num_sources * local * num_fields; i += blockDim.x) {
        const int s = i / (local * num_fields), rest = i % (local * num_fields);
        mine[i] = counts[(s * block.num_experts + begin) * num_fields + rest];
    }
    __syncthreads();
    const auto count = [&](int s, int e, int field) {
        return mine[(s * local + e - begin) * num_fields + field];
    };
    const int n = static_cast<int>(block.num_experts);
    const int out = block.dedup ? kFirst : kRows, home = block.per_chunk ? kChunkFirst : kLast;
    const std::int32_t* bounds = bounds_of(block, part);
    if (threadIdx.x == 0) {
        std::int32_t row = 0;
        for (int e = begin; e < end; ++e)
            for (int s = 0; s < num_sources; ++s) {
                first_expert_row[s * n + e] = row;
                row += count(s, e, kRows);
            }
    } else if (threadIdx.x == 32) {
        std::int32_t home_row = 0, arrived_row = 0;
        for (int c = 0; c < block.num_chunks; ++c)
            for (int s = 0; s < num_sources; ++s)
                for (int e = bounds[c]; e < bounds[c + 1]; ++e) {
                    first_home_row[s * n + e] = home_row;
                    first_arrived_row[s * n + e] = arrived_row;
                    home_row += count(s, e, home);
                    arrived_row += count(s, e, out);
                }
        starts[home_row] = 0;
    } else if (threadIdx.x == 64) {
        std::int32_t row = 0;
        for (int s = 0; s < num_sources; ++s) {
            slots_begin[s] = row;
            for (int e = begin; e < end; ++e) row += count(s, e, out);
        }
        slots_begin[num_sources] = row;
    }
}

// row_of [sources, most_tokens] from the slots; a token that travelled several times is found by its first
// row.
__global__ void find_tokens_kernel(const std::int32_t* slots, std::int64_t columns,
                                   const std::int32_t* slots_begin, int num_sources, std::int64_t most_tokens,
                                   std::int32_t* row_of) {
    const std::int64_t row = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
    if (row >= slots_begin[num_sources]) return;
    int source = 0;
    while (source + 1 < num_sources && row >= slots_begin[source + 1]) ++source;
    // As unsigned -1 is beyond every row.
    atomicMin(reinterpret_cast<unsigned*>(row_of) + source * most_tokens + slots[row * columns],
              static_cast<unsigned>(row));
}

struct HolderRows {
    const std::int32_t *first_expert_row, *first_home_row, *first_arrived_row;  // [sources, E]
};

// Without `entries`: counts each sum's entries into starts and writes expert_order. Otherwise starts are
// known: writes the entries.
__global__ void holder_place_kernel(Block block, ArrivedTokens tokens, std::int32_t* tile_counts,
                                    HolderRows rows, std::int32_t* expert_order, DeviceReduceMaps reduce,
                                    bool entries) {
    extern __shared__ unsigned masks[];
    const Token token = mark(block, tokens, kMostFields - 1, masks);
    if (token.ids == nullptr) return;
    const std::int32_t* before = tile_of(tile_counts, kMostFields - 1, block.num_experts);
    const std::int64_t source = blockIdx.y * block.num_experts;
    const int k = static_cast<int>(block.top_k);
    int first = -1;
    for (int j = 0; j < k; ++j)
        if (token.ids[j] >= 0 && token.is_first(block, j)) first = token.ids[j];
    for (int j = 0; j < k; ++j) {
        const int e = token.ids[j];
        if (e < 0) continue;
        const std::int32_t among = place(masks, before, block, kRows, e);
        const std::int32_t expert_row = rows.first_expert_row[source + e] + among;
        // The sum this slot belongs to, and its entry there: slots in slot order.
        int last = j, entry = 0, length = 0;
        for (int i = 0; i < k; ++i) {
            if (token.ids[i] < 0 || !token.same(block, i, j, block.per_chunk)) continue;
            if (token.ids[i] > token.ids[last]) last = i;
            entry += i < j;
            ++length;
        }
        const int key = token.home_key(block, last);
        const std::int32_t home = rows.first_home_row[source + key] + place(masks, before, block, kLast, key);
        if (!entries) {
            expert_order[expert_row] = block.dedup ? rows.first_arrived_row[source + first] +
                                                         place(masks, before, block, kFirst, first)
                                                   : rows.first_arrived_row[source + e] + among;
            if (entry == 0) reduce.starts[home] = length;
            continue;
        }
        const std::int32_t at = reduce.starts[home] + entry;
        reduce.index[at] = expert_row;
        reduce.weights[at] = __int_as_float(token.ids[k + j]);
    }
}

// ---- Home again

// begin [E, shards]: first row that comes home from (expert, shard), rows numbered (chunk, part, shard,
// expert).
__global__ void home_layout_kernel(Block block, const std::int32_t* totals, std::int32_t* begin) {
    if (threadIdx.x != 0) return;
    const std::int32_t* sums = totals + kLast * block.num_experts;
    std::int32_t row = 0;
    for (int c = 0; c < block.num_chunks; ++c)
        for (int p = 0; p < block.num_parts; ++p)
            for (int shard = 0; shard < block.num_shards; ++shard)
                for (int e = bounds_of(block, p)[c]; e < bounds_of(block, p)[c + 1]; ++e) {
                    begin[e * block.num_shards + shard] = row;
                    row += sums[e];
                }
}

__global__ void home_count_kernel(Block block, OwnTokens tokens, std::int32_t* starts) {
    const std::int64_t t = std::int64_t{blockIdx.x} * 32 + threadIdx.x;
    if (t > tokens.num_tokens) return;
    const Token token = tokens.at(block, t);
    std::int32_t sums = 0;
    for (int j = 0; token.ids != nullptr && j < block.top_k; ++j)
        sums += token.is_last(block, j, block.per_chunk);
    starts[t] = sums * static_cast<std::int32_t>(block.num_shards);
}

__global__ void home_place_kernel(Block block, OwnTokens tokens, std::int32_t* tile_counts,
                                  const std::int32_t* begin, const std::int32_t* starts,
                                  std::int32_t* index) {
    extern __shared__ unsigned masks[];
    const Token token = mark(block, tokens, kMostFields - 1, masks);
    if (token.ids == nullptr) return;
    const std::int32_t* before = tile_of(tile_counts, kMostFields - 1, block.num_experts);
    const std::int64_t t = std::int64_t{blockIdx.x} * 32 + threadIdx.x;
    const int k = static_cast<int>(block.top_k), shards = static_cast<int>(block.num_shards);
    for (int j = 0; j < k; ++j) {
        if (!token.is_last(block, j, block.per_chunk)) continue;
        // Sums of the token in front of this one: of lower parts, then of the same part by ascending expert.
        int lower_parts = 0, same_part = 0, in_part = 0;
        for (int i = 0; i < k; ++i) {
            if (!token.is_last(block, i, block.per_chunk)) continue;
            const bool same = token.same(block, i, j, false);
            in_part += same;
            same_part += same && token.ids[i] < token.ids[j];
            lower_parts += !same && token.ids[i] < token.ids[j];
        }
        const int key = token.home_key(block, j);
        const std::int32_t among = place(masks, before, block, kLast, key);
        for (int shard = 0; shard < shards; ++shard)
            index[starts[t] + lower_parts * shards + shard * in_part + same_part] =
                begin[key * shards + shard] + among;
    }
}

// ---- Scratch memory, cut in pieces

struct Workspace {
    std::int32_t *tile_counts, *totals, *first, *row_of;
    void* scan;
    std::size_t scan_bytes, bytes;
};

std::int64_t num_tiles(std::int64_t num_tokens) {
    return (num_tokens + 31) / 32;
}

// Asked once for each count: the library asks the driver.
std::size_t scan_bytes_of(std::int64_t count) {
    thread_local std::map<std::int64_t, std::size_t> known;
    const auto [entry, is_new] = known.try_emplace(count);
    std::int32_t* const none = nullptr;
    if (is_new) cub::DeviceScan::ExclusiveSum(nullptr, entry->second, none, none, static_cast<int>(count));
    return entry->second;
}

Workspace cut(void* memory, const Block& block, std::int64_t num_tokens, std::int64_t num_sources) {
    std::size_t used = 0;
    const auto take = [&](std::int64_t count) {
        auto* piece = reinterpret_cast<std::int32_t*>(static_cast<std::byte*>(memory) + used);
        used += (static_cast<std::size_t>(count) * sizeof(std::int32_t) + 255) / 256 * 256;
        return piece;
    };
    Workspace w{};
    const std::int64_t entries = kMostFields * block.num_experts * num_sources;
    w.tile_counts = take(entries * num_tiles(num_tokens));
    w.totals = take(entries);
    w.first = take(3 * block.num_experts * std::max(num_sources, block.num_shards) + num_sources + 1);
    w.row_of = take(num_sources * num_tokens);
    const std::int64_t most_sums = num_tokens * num_sources * block.top_k + 1;
    w.scan_bytes = scan_bytes_of(most_sums);
    w.scan = take(static_cast<std::int64_t>(w.scan_bytes / sizeof(std::int32_t)) + 1);
    w.bytes = used;
    return w;
}

std::size_t mask_bytes(const Block& block, int num_fields) {
    return sizeof(unsigned) * static_cast<std::size_t>(num_fields * block.num_experts);
}

template <typename Tokens>
void count_tokens(Stream stream, const Block& block, const Tokens& tokens, dim3 tiles, int num_fields,
                  const Workspace& w) {
    count_kernel<<<tiles, 32, mask_bytes(block, num_fields), stream>>>(block, tokens, num_fields,
                                                                       w.tile_counts);
    const auto entries = static_cast<unsigned>(num_fields * block.num_experts);
    scan_tiles_kernel<<<dim3(entries, tiles.y), 32, 0, stream>>>(w.tile_counts, tiles.x, entries, w.totals);
    check_launch("counts of a map");
}

void scan_starts(Stream stream, const Workspace& w, std::int32_t* starts, std::int64_t count) {
    std::size_t bytes = w.scan_bytes;
    if (cub::DeviceScan::ExclusiveSum(w.scan, bytes, starts, starts, static_cast<int>(count), stream) !=
        cudaSuccess)
        throw Error(Exit::internal, "device maps: the running sum failed");
}

}  // namespace

std::size_t map_workspace_bytes(const Block& block, std::int64_t num_tokens, std::int64_t num_sources) {
    return cut(nullptr, block, std::max<std::int64_t>(num_tokens, 1), num_sources).bytes;
}

void route(Stream stream, const Block& block, const std::int32_t* ids, const float* weights,
           std::int64_t num_tokens, std::int32_t* counts, std::int32_t* send_order, std::int32_t* sent_slots,
           void* workspace) {
    const Workspace w = cut(workspace, block, std::max<std::int64_t>(num_tokens, 1), 1);
    const OwnTokens tokens{ids, num_tokens};
    const dim3 tiles(static_cast<unsigned>(std::max<std::int64_t>(num_tiles(num_tokens), 1)), 1);
    count_tokens(stream, block, tokens, tiles, kMostFields, w);
    route_layout_kernel<<<1, 256, 0, stream>>>(block, w.totals, block.per_chunk ? 4 : 3, counts, w.first);
    route_place_kernel<<<tiles, 32, mask_bytes(block, kMostFields), stream>>>(
        block, tokens, weights, w.tile_counts, w.first, send_order, sent_slots);
    check_launch("route");
}

void map_rows(Stream stream, const Block& block, std::int64_t part, const std::int32_t* counts,
              std::int64_t num_sources, const std::int32_t* slots, std::int64_t most_arrived,
              std::int64_t most_tokens, std::int64_t most_home, std::int32_t* expert_order,
              const DeviceReduceMaps& reduce, void* workspace) {
    if (most_arrived == 0) {
        cudaMemsetAsync(reduce.starts, 0, sizeof(std::int32_t), stream);
        return;
    }
    const Workspace w = cut(workspace, block, most_tokens, num_sources);
    const int num_fields = block.per_chunk ? 4 : 3;
    const std::int64_t n = block.num_experts * num_sources;
    std::int32_t *first_expert = w.first, *first_home = first_expert + n, *first_arrived = first_home + n,
                 *slots_begin = first_arrived + n;
    const std::size_t bytes =
        sizeof(std::int32_t) * static_cast<std::size_t>(num_fields * num_sources * (block.num_experts + 1));
    constexpr std::size_t kAlwaysGranted = 48 << 10;
    if (bytes > kAlwaysGranted &&
        cudaFuncSetAttribute(holder_layout_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             static_cast<int>(bytes)) != cudaSuccess)
        throw Error(Exit::resource, "device maps: too many ranks and experts for one block's shared memory");
    holder_layout_kernel<<<1, 256, bytes, stream>>>(block, static_cast<int>(part), counts,
                                                    static_cast<int>(num_sources), num_fields, first_expert,
                                                    first_home, first_arrived, slots_begin, reduce.starts);
    cudaMemsetAsync(w.row_of, 0xff,
                    static_cast<std::size_t>(num_sources * most_tokens) * sizeof(std::int32_t), stream);
    find_tokens_kernel<<<grid_of((most_arrived + 255) / 256), 256, 0, stream>>>(
        slots, 1 + 2 * block.top_k, slots_begin, static_cast<int>(num_sources), most_tokens, w.row_of);
    const ArrivedTokens tokens{slots, w.row_of, most_tokens};
    const dim3 tiles(static_cast<unsigned>(num_tiles(most_tokens)), static_cast<unsigned>(num_sources));
    constexpr int kFields = kMostFields - 1;
    count_tokens(stream, block, tokens, tiles, kFields, w);
    const HolderRows rows{first_expert, first_home, first_arrived};
    const std::int64_t most_sums = std::min(most_home, most_tokens * num_sources * block.top_k);
    for (const bool entries : {false, true}) {
        holder_place_kernel<<<tiles, 32, mask_bytes(block, kFields), stream>>>(
            block, tokens, w.tile_counts, rows, expert_order, reduce, entries);
        if (!entries) scan_starts(stream, w, reduce.starts, most_sums + 1);
    }
    check_launch("map_rows");
}

namespace {

// Every row is its own: no first or last expert matters.
Block at_home(Block block) {
    block.dedup = block.per_chunk = false;
    return block;
}

// Counts of own tokens, and in w.first where each expert's rows begin.
dim3 lay_out_at_home(Stream stream, const Block& block, const OwnTokens& tokens, std::int32_t* counts,
                     const Workspace& w) {
    const dim3 tiles(static_cast<unsigned>(std::max<std::int64_t>(num_tiles(tokens.num_tokens), 1)), 1);
    count_tokens(stream, block, tokens, tiles, kMostFields - 1, w);
    route_layout_kernel<<<1, 256, 0, stream>>>(block, w.totals, kMostFields - 1, counts, w.first);
    return tiles;
}

}  // namespace

void count_rows(Stream stream, const Block& block, const std::int32_t* ids, std::int64_t num_tokens,
                std::int32_t* counts, void* workspace) {
    const Workspace w = cut(workspace, block, std::max<std::int64_t>(num_tokens, 1), 1);
    lay_out_at_home(stream, at_home(block), {ids, num_tokens}, counts, w);
    check_launch("count_rows");
}

void map_rows_at_home(Stream stream, const Block& block, const std::int32_t* ids, const float* weights,
                      std::int64_t num_tokens, std::int32_t* expert_order, const DeviceReduceMaps& reduce,
                      void* workspace) {
    if (num_tokens == 0) {
        cudaMemsetAsync(reduce.starts, 0, sizeof(std::int32_t), stream);
        return;
    }
    const Workspace w = cut(workspace, block, num_tokens, 1);
    const OwnTokens tokens{ids, num_tokens};
    const dim3 tiles = lay_out_at_home(stream, at_home(block), tokens, nullptr, w);
    at_home_place_kernel<<<tiles, 32, mask_bytes(block, kMostFields - 1), stream>>>(
        at_home(block), tokens, weights, w.tile_counts, w.first, expert_order, reduce);
    check_launch("map_rows_at_home");
}

void map_home(Stream stream, const Block& block, const std::int32_t* ids, std::int64_t num_tokens,
              std::int32_t* starts, std::int32_t* index, void* workspace) {
    const Workspace w = cut(workspace, block, std::max<std::int64_t>(num_tokens, 1), 1);
    const OwnTokens tokens{ids, num_tokens};
    const dim3 tiles(static_cast<unsigned>(num_tokens / 32 + 1), 1);
    home_count_kernel<<<tiles, 32, 0, stream>>>(block, tokens, starts);
    scan_starts(stream, w, starts, num_tokens + 1);
    if (num_tokens == 0) return;
    const dim3 whole(static_cast<unsigned>(num_tiles(num_tokens)), 1);
    count_tokens(stream, block, tokens, whole, kMostFields - 1, w);
    home_layout_kernel<<<1, 32, 0, stream>>>(block, w.totals, w.first);
    home_place_kernel<<<whole, 32, mask_bytes(block, kMostFields - 1), stream>>>(block, tokens, w.tile_counts,
                                                                                 w.first, starts, index);
    check_launch("map_home");
}

}  // namespace eps::kernels::device
