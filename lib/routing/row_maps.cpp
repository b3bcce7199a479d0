#include "routing/row_maps.hpp"

#include <algorithm>
#include <bit>
#include <numeric>

namespace eps::routing {

namespace {

// The part and chunk of every expert, so that inner loops look up instead of dividing.
struct ExpertPlaces {
    std::vector<std::int32_t> part;
    std::vector<std::int32_t> chunk;

    ExpertPlaces(const BlockShape& shape, const Chunks& chunks)
        : part(at(shape.num_experts)), chunk(at(shape.num_experts)) {
        for (std::int64_t p = 0; p < shape.num_parts; ++p)
            for (std::int64_t c = 0; c < chunks.size(); ++c) {
                const Range piece = chunks.of(p, c);
                for (std::int64_t e = piece.begin; e < piece.end; ++e) {
                    part[at(e)] = static_cast<std::int32_t>(p);
                    chunk[at(e)] = static_cast<std::int32_t>(c);
                }
            }
    }
};

// Exclusive running sums in place; returns the total.
std::int64_t running_sums(std::span<std::int32_t> values) {
    std::int32_t total = 0;
    for (std::int32_t& v : values) {
        const std::int32_t n = v;
        v = total;
        total += n;
    }
    return total;
}

}  // namespace

void divide_evenly(const BlockShape& shape, std::int64_t num_chunks, std::vector<std::int64_t>& bounds) {
    bounds.clear();
    for (std::int64_t p = 0; p < shape.num_parts; ++p) {
        const Range experts = shape.experts_of(p);
        for (std::int64_t c = 0; c < num_chunks; ++c)
            bounds.push_back(chunk_of(experts, num_chunks, c).begin);
        bounds.push_back(experts.end);
    }
}

std::int64_t route(const BlockShape& shape, std::span<const std::int32_t> ids, std::span<const float> weights,
                   std::int64_t chunks, bool dedup, std::span<std::int32_t> counts,
                   std::span<std::int32_t> send_order, std::span<std::int32_t> sent_slots) {
    const std::int64_t k = shape.top_k;
    const std::int64_t num_tokens = std::ssize(ids) / k;
    const std::int64_t fields = num_count_fields(chunks > 0);
    std::vector<std::int64_t> bounds;
    divide_evenly(shape, std::max<std::int64_t>(1, chunks), bounds);
    const ExpertPlaces places(shape, Chunks(shape, bounds));
    std::fill(counts.begin(), counts.end(), 0);
    const auto count = [&](std::int64_t expert, CountField field) -> std::int32_t& {
        return counts[at(expert * fields + field)];
    };

    // Does slot j hold the first (last) of the token's experts on its rank (in its chunk)?
    const auto leads = [&](const std::int32_t* row, std::int64_t j, auto&& same, auto&& before) {
        for (std::int64_t i = 0; i < k; ++i)
            if (same(row[i], row[j]) && before(row[i], row[j])) return false;
        return true;
    };
    const auto same_part = [&](std::int32_t a, std::int32_t b) {
        return places.part[at(a)] == places.part[at(b)];
    };
    const auto same_chunk = [&](std::int32_t a, std::int32_t b) {
        return same_part(a, b) && places.chunk[at(a)] == places.chunk[at(b)];
    };
    constexpr std::less<> kLess;
    constexpr std::greater<> kGreater;

    for (std::int64_t t = 0; t < num_tokens; ++t) {
        const std::int32_t* row = ids.data() + t * k;
        for (std::int64_t j = 0; j < k; ++j) {
            const std::int64_t e = row[j];
            ++count(e, kRows);
            count(e, kFirst) += leads(row, j, same_part, kLess);
            count(e, kLast) += leads(row, j, same_part, kGreater);
            if (chunks > 0) count(e, kChunkFirst) += leads(row, j, same_chunk, kLess);
        }
    }

    // Experts ascend with parts, so one counting sort by expert gives (part, first local expert, token).
    std::vector<std::int32_t> next(at(shape.num_experts));
    for (std::int64_t e = 0; e < shape.num_experts; ++e) next[at(e)] = count(e, out_field(dedup));
    const std::int64_t num_sent = running_sums(next);
    for (std::int64_t t = 0; t < num_tokens; ++t) {
        const std::int32_t* row = ids.data() + t * k;
        for (std::int64_t j = 0; j < k; ++j) {
            if (dedup && !leads(row, j, same_part, kLess)) continue;
            const std::int64_t sent = next[at(row[j])]++;
            send_order[at(sent)] = static_cast<std::int32_t>(t);
            std::int32_t* slots = sent_slots.data() + sent * shape.slot_columns();
            slots[0] = static_cast<std::int32_t>(t);
            for (std::int64_t i = 0; i < k; ++i) {
                slots[1 + i] = same_part(row[i], row[j]) ? row[i] : -1;
                slots[1 + k + i] = std::bit_cast<std::int32_t>(weights[at(t * k + i)]);
            }
        }
    }
    return num_sent;
}

void count_rows(std::span<const std::int32_t> ids, std::span<std::int32_t> counts, std::int64_t num_fields) {
    std::fill(counts.begin(), counts.end(), 0);
    for (const std::int32_t id : ids) ++counts[at(id * num_fields + kRows)];
}

namespace {

// One token's slots at the holder: the row of `slots` that carries them and where each expert finds the row.
struct Arrived {
    std::int32_t token;
    std::int32_t slot_row;
};

class Mapper {
  public:
    Mapper(const BlockShape& shape, std::int64_t part, const CountsView& counts, const Chunks& chunks,
           bool dedup, bool per_chunk)
        : shape_(shape),
          part_(part),
          experts_(shape.experts_of(part)),
          counts_(counts),
          chunks_(chunks),
          dedup_(dedup),
          per_chunk_(per_chunk),
          places_(shape, chunks) {}

    void map(std::span<const std::int32_t> slots, std::span<std::int32_t> expert_order,
             const ReduceMaps& reduce) {
        lay_out();
        std::fill(reduce.starts.begin(), reduce.starts.end(), 0);
        order_tokens(slots);
        // First the experts' rows and the length of each sum, then the sums' entries.
        visit(slots,
              [&](std::int64_t home, std::int64_t, float, std::int64_t expert_row, std::int64_t arrived_row) {
                  expert_order[at(expert_row)] = static_cast<std::int32_t>(arrived_row);
                  ++reduce.starts[at(home)];
              });
        running_sums(reduce.starts);
        visit(slots, [&](std::int64_t home, std::int64_t entry, float weight, std::int64_t expert_row,
                         std::int64_t) {
            const std::int64_t place = reduce.starts[at(home)] + entry;
            reduce.index[at(place)] = static_cast<std::int32_t>(expert_row);
            reduce.weights[at(place)] = weight;
        });
    }

  private:
    // Where each (expert, source) begins among expert rows, arrived rows and home rows.
    void lay_out() {
        const std::int64_t num_sources = counts_.num_sources;
        const std::int64_t local = experts_.size();
        first_expert_row_.assign(at(local * num_sources), 0);
        first_home_row_.assign(at(local * num_sources), 0);
        first_arrived_row_.assign(at(local * num_sources), 0);
        slots_begin_.assign(at(num_sources + 1), 0);
        std::int32_t expert_row = 0, home_row = 0, arrived_row = 0;
        for (std::int64_t e = 0; e < local; ++e)
            for (std::int64_t s = 0; s < num_sources; ++s) {
                first_expert_row_[at(e * num_sources + s)] = expert_row;
                expert_row += static_cast<std::int32_t>(counts_.at(s, experts_.begin + e, kRows));
            }
        for (std::int64_t c = 0; c < chunks_.size(); ++c) {
            const Range chunk = chunks_.of(part_, c);
            for (std::int64_t s = 0; s < num_sources; ++s)
                for (std::int64_t e = chunk.begin - experts_.begin; e < chunk.end - experts_.begin; ++e) {
                    first_arrived_row_[at(e * num_sources + s)] = arrived_row;
                    first_home_row_[at(e * num_sources + s)] = home_row;
                    arrived_row +=
                        static_cast<std::int32_t>(counts_.at(s, experts_.begin + e, out_field(dedup_)));
                    home_row +=
                        static_cast<std::int32_t>(counts_.at(s, experts_.begin + e, home_field(per_chunk_)));
                }
        }
        for (std::int64_t s = 0; s < num_sources; ++s) {
            std::int64_t sent = 0;
            for (std::int64_t e = experts_.begin; e < experts_.end; ++e)
                sent += counts_.at(s, e, out_field(dedup_));
            slots_begin_[at(s + 1)] = slots_begin_[at(s)] + sent;
        }
    }

    // Per source, its tokens ascending; without dedup the copies of a token collapse into one.
    void order_tokens(std::span<const std::int32_t> slots) {
        const std::int64_t columns = shape_.slot_columns();
        tokens_.clear();
        tokens_begin_.assign(1, 0);
        for (std::int64_t s = 0; s < counts_.num_sources; ++s) {
            const auto begin = std::ssize(tokens_);
            for (std::int64_t row = slots_begin_[at(s)]; row < slots_begin_[at(s + 1)]; ++row)
                tokens_.push_back({slots[at(row * columns)], static_cast<std::int32_t>(row)});
            std::sort(tokens_.begin() + begin, tokens_.end(), [](Arrived a, Arrived b) {
                return a.token != b.token ? a.token < b.token : a.slot_row < b.slot_row;
            });
            tokens_.erase(std::unique(tokens_.begin() + begin, tokens_.end(),
                                      [](Arrived a, Arrived b) { return a.token == b.token; }),
                          tokens_.end());
            tokens_begin_.push_back(std::ssize(tokens_));
        }
    }

    // f(home row, entry in its sum, weight, expert row, arrived row) for every slot of this part, sources and
    // tokens ascending, slots of a token in slot order.
    template <typename F>
    void visit(std::span<const std::int32_t> slots, F&& f) {
        const std::int64_t k = shape_.top_k;
        const std::int64_t num_sources = counts_.num_sources;
        next_expert_row_ = first_expert_row_;
        next_home_row_ = first_home_row_;
        next_arrived_row_ = first_arrived_row_;
        std::vector<std::int32_t> home_of_chunk(at(chunks_.size()));
        std::vector<std::int32_t> entries(at(chunks_.size()));
        for (std::int64_t s = 0; s < num_sources; ++s) {
            const auto place = [&](std::int64_t expert) {
                return at((expert - experts_.begin) * num_sources + s);
            };
            for (std::int64_t i = tokens_begin_[at(s)]; i < tokens_begin_[at(s + 1)]; ++i) {
                const std::int32_t* row = slots.data() + tokens_[at(i)].slot_row * shape_.slot_columns();
                const std::int32_t* ids = row + 1;
                std::int64_t first = experts_.end, last = -1;
                for (std::int64_t j = 0; j < k; ++j) {
                    if (ids[j] < 0) continue;
                    first = std::min<std::int64_t>(first, ids[j]);
                    last = std::max<std::int64_t>(last, ids[j]);
                }
                std::fill(home_of_chunk.begin(), home_of_chunk.end(), -1);
                std::fill(entries.begin(), entries.end(), 0);
                const std::int64_t shared_row = dedup_ ? next_arrived_row_[place(first)]++ : -1;
                for (std::int64_t j = 0; j < k; ++j) {
                    if (ids[j] < 0) continue;
                    const std::int64_t chunk = per_chunk_ ? places_.chunk[at(ids[j])] : 0;
                    std::int32_t& home = home_of_chunk[at(chunk)];
                    // per_chunk: rows of (chunk, source) by token, counted from the chunk's first expert
                    const std::int64_t key = per_chunk_ ? chunks_.of(part_, chunk).begin : last;
                    if (home < 0) home = next_home_row_[place(key)]++;
                    const std::int64_t arrived = dedup_ ? shared_row : next_arrived_row_[place(ids[j])]++;
                    f(home, entries[at(chunk)]++, std::bit_cast<float>(row[1 + k + j]),
                      next_expert_row_[place(ids[j])]++, arrived);
                }
            }
        }
    }

    BlockShape shape_;
    std::int64_t part_;
    Range experts_;
    CountsView counts_;
    Chunks chunks_;
    bool dedup_, per_chunk_;
    ExpertPlaces places_;
    std::vector<std::int32_t> first_expert_row_, first_home_row_,
        first_arrived_row_;  // [local expert][source]
    std::vector<std::int32_t> next_expert_row_, next_home_row_, next_arrived_row_;
    std::vector<std::int64_t> slots_begin_, tokens_begin_;  // per source
    std::vector<Arrived> tokens_;
};

}  // namespace

void map_rows(const BlockShape& shape, std::int64_t part, const CountsView& counts,
              std::span<const std::int32_t> slots, const Chunks& chunks, bool dedup, bool per_chunk,
              std::span<std::int32_t> expert_order, const ReduceMaps& reduce) {
    Mapper(shape, part, counts, chunks, dedup, per_chunk).map(slots, expert_order, reduce);
}

void map_rows_at_home(const BlockShape& shape, std::span<const std::int32_t> ids,
                      std::span<const float> weights, std::span<std::int32_t> expert_order,
                      const ReduceMaps& reduce) {
    std::vector<std::int32_t> next(at(shape.num_experts), 0);
    for (const std::int32_t id : ids) ++next[at(id)];
    running_sums(next);
    for (std::int64_t i = 0; i < std::ssize(ids); ++i) {  // tokens ascend, so each expert's rows do
        const std::int32_t row = next[at(ids[at(i)])]++;
        expert_order[at(row)] = static_cast<std::int32_t>(i / shape.top_k);
        reduce.index[at(i)] = row;
        reduce.weights[at(i)] = weights[at(i)];
    }
    for (std::int64_t t = 0; t < std::ssize(reduce.starts); ++t)
        reduce.starts[at(t)] = static_cast<std::int32_t>(t * shape.top_k);
}

std::int64_t map_home(const BlockShape& shape, std::span<const std::int32_t> ids, const Chunks& chunks,
                      bool per_chunk, std::span<std::int32_t> starts, std::span<std::int32_t> index) {
    const std::int64_t k = shape.top_k;
    const std::int64_t num_tokens = std::ssize(ids) / k;
    const ExpertPlaces places(shape, chunks);
    // Rows that come home per (expert, shard): by last local expert, or with per_chunk booked at the chunk's
    // first expert.
    std::vector<std::int32_t> sorted(at(k));
    const auto for_each_sum = [&](std::int64_t token,
                                  auto&& f) {  // f(part, key expert), parts then chunks ascending
        std::copy_n(ids.data() + token * k, k, sorted.begin());
        std::sort(sorted.begin(), sorted.end());
        for (std::int64_t j = 0; j < k; ++j) {
            const std::int64_t part = places.part[at(sorted[j])];
            const bool ends = j + 1 == k || places.part[at(sorted[j + 1])] != part ||
                              (per_chunk && places.chunk[at(sorted[j + 1])] != places.chunk[at(sorted[j])]);
            if (!ends) continue;
            f(part, per_chunk ? chunks.of(part, places.chunk[at(sorted[j])]).begin : sorted[j]);
        }
    };
    std::vector<std::int32_t> num_sums(at(shape.num_experts), 0);
    for (std::int64_t t = 0; t < num_tokens; ++t)
        for_each_sum(t, [&](std::int64_t, std::int64_t key) { ++num_sums[at(key)]; });

    std::vector<std::int32_t> next(at(shape.num_experts * shape.num_shards));
    std::int32_t row = 0;
    for (std::int64_t c = 0; c < chunks.size(); ++c)
        for (std::int64_t p = 0; p < shape.num_parts; ++p) {
            const Range chunk = chunks.of(p, c);
            for (std::int64_t shard = 0; shard < shape.num_shards; ++shard)
                for (std::int64_t e = chunk.begin; e < chunk.end; ++e) {
                    next[at(e * shape.num_shards + shard)] = row;
                    row += num_sums[at(e)];
                }
        }
    std::int64_t entry = 0;
    std::vector<std::int64_t> keys;
    for (std::int64_t t = 0; t < num_tokens; ++t) {
        starts[at(t)] = static_cast<std::int32_t>(entry);
        keys.clear();
        for_each_sum(t, [&](std::int64_t, std::int64_t key) { keys.push_back(key); });
        for (std::int64_t i = 0; i < std::ssize(keys);) {  // all keys of a part, shard by shard
            const std::int64_t part = places.part[at(keys[at(i)])];
            std::int64_t end = i;
            while (end < std::ssize(keys) && places.part[at(keys[at(end)])] == part) ++end;
            for (std::int64_t shard = 0; shard < shape.num_shards; ++shard)
                for (std::int64_t j = i; j < end; ++j)
                    index[at(entry++)] = next[at(keys[at(j)] * shape.num_shards + shard)]++;
            i = end;
        }
    }
    starts[at(num_tokens)] = static_cast<std::int32_t>(entry);
    return entry;
}

}  // namespace eps::routing
