// A whole block with numbers instead of rows: what the maps bring home is the direct sum over each token's
// experts.
#include "tests/catch.hpp"
#include "tests/routing/random_block.hpp"

#include <memory>
#include <set>

using namespace eps;
using namespace eps::routing;
using namespace row_map_tests;

namespace {

// All numbers are small and whole, so every sum is exact in any order.
double row_of(std::int64_t source, std::int64_t token) {
    return static_cast<double>(7 * source + 3 * token + 1);
}

double expert_of(std::int64_t expert, std::int64_t shard, double x) {
    return (static_cast<double>(expert) + 2) * x + 5 * static_cast<double>(shard);
}

struct Traffic {
    std::int64_t rows_out = 0, rows_home = 0, rows_computed = 0;
};

class RoundTrip {
  public:
    explicit RoundTrip(const Block& block) : block_(block) {
        for (std::int64_t s = 0; s < num_ranks(); ++s) routed_.push_back(route(block, s));
        counts_ = std::make_unique<Counts>(block, routed_);
        came_.resize(at(num_ranks()));
        for (auto& of_source : came_) of_source.resize(at(block.chunks * num_ranks()));
    }

    Traffic run() {
        for (std::int64_t rank = 0; rank < num_ranks(); ++rank) compute_on(rank);
        return traffic_;
    }

    std::vector<double> sums_at(std::int64_t source) const {
        std::vector<double> came;  // by (chunk, block rank)
        for (const auto& part : came_[at(source)]) came.insert(came.end(), part.begin(), part.end());
        std::vector<std::int32_t> starts(at(block_.num_tokens(source) + 1)), index(came.size());
        const std::int64_t num_entries = map_home(block_.shape, block_.sources[at(source)].ids,
                                                  block_.chunks_of_parts(), block_.per_chunk, starts, index);
        REQUIRE(num_entries == std::ssize(came));
        std::vector<double> sums(at(block_.num_tokens(source)), 0.0);
        for (std::int64_t t = 0; t < std::ssize(sums); ++t)
            for (std::int32_t i = starts[at(t)]; i < starts[at(t + 1)]; ++i)
                sums[at(t)] += came[at(index[at(i)])];
        return sums;
    }

  private:
    std::int64_t num_ranks() const { return block_.shape.num_ranks(); }

    // Rows of `source` for the experts before `expert`, in its send order.
    std::int64_t sent_before(std::int64_t source, std::int64_t expert) const {
        return counts_->sum(source, {0, expert}, out_field(block_.dedup));
    }

    void compute_on(std::int64_t rank) {
        const std::int64_t part = rank / block_.shape.num_shards, shard = rank % block_.shape.num_shards;
        const Range experts = block_.shape.experts_of(part);
        const std::int64_t columns = block_.shape.slot_columns();
        std::vector<std::int32_t> slots;
        for (std::int64_t s = 0; s < num_ranks(); ++s) {
            const auto begin = routed_[at(s)].sent_slots.begin();
            slots.insert(slots.end(), begin + sent_before(s, experts.begin) * columns,
                         begin + sent_before(s, experts.end) * columns);
        }
        std::vector<double> arrived;
        std::int64_t num_expert_rows = 0, num_home_rows = 0;
        for (std::int64_t c = 0; c < block_.chunks; ++c)
            for (std::int64_t s = 0; s < num_ranks(); ++s) {
                const Range chunk = block_.chunks_of_parts().of(part, c);
                for (std::int64_t i = sent_before(s, chunk.begin); i < sent_before(s, chunk.end); ++i)
                    arrived.push_back(row_of(s, routed_[at(s)].send_order[at(i)]));
                num_home_rows += counts_->sum(s, chunk, home_field(block_.per_chunk));
                num_expert_rows += counts_->sum(s, chunk, kRows);
            }
        traffic_.rows_out += std::ssize(arrived);
        traffic_.rows_home += num_home_rows;
        traffic_.rows_computed += num_expert_rows;

        std::vector<std::int32_t> order(at(num_expert_rows)), starts(at(num_home_rows + 1)),
            index(at(num_expert_rows));
        std::vector<float> weights(at(num_expert_rows));
        map_rows(block_.shape, part, counts_->view, slots, block_.chunks_of_parts(), block_.dedup,
                 block_.per_chunk, order, {starts, index, weights});

        std::vector<double> computed;
        for (std::int64_t e = experts.begin; e < experts.end; ++e) {
            std::int64_t rows = 0;
            for (std::int64_t s = 0; s < num_ranks(); ++s) rows += counts_->view.at(s, e, kRows);
            for (std::int64_t i = 0; i < rows; ++i)
                computed.push_back(expert_of(e, shard, arrived[at(order[computed.size()])]));
        }
        reduce(rank, experts, computed, {starts, index, weights});
    }

    void reduce(std::int64_t rank, Range experts, const std::vector<double>& computed,
                const ReduceMaps& maps) {
        std::int64_t home_row = 0;
        for (std::int64_t c = 0; c < block_.chunks; ++c) {
            const Range chunk = block_.chunks_of_parts().of(rank / block_.shape.num_shards, c);
            std::int64_t rows_so_far = 0;  // of the experts of this chunk and before
            for (std::int64_t s = 0; s < num_ranks(); ++s)
                rows_so_far += counts_->sum(s, {experts.begin, chunk.end}, kRows);
            for (std::int64_t s = 0; s < num_ranks(); ++s)
                for (std::int64_t n = counts_->sum(s, chunk, home_field(block_.per_chunk)); n > 0;
                     --n, ++home_row) {
                    double sum = 0;
                    for (std::int32_t i = maps.starts[at(home_row)]; i < maps.starts[at(home_row + 1)]; ++i) {
                        REQUIRE(maps.index[at(i)] < rows_so_far);  // its experts are done when it goes home
                        sum += static_cast<double>(maps.weights[at(i)]) * computed[at(maps.index[at(i)])];
                    }
                    came_[at(s)][at(c * num_ranks() + rank)].push_back(sum);
                }
        }
    }

    const Block& block_;
    std::vector<Routed> routed_;
    std::unique_ptr<Counts> counts_;
    std::vector<std::vector<std::vector<double>>> came_;  // [source][chunk, block rank] -> rows
    Traffic traffic_;
};

}  // namespace

TEST_CASE("every token gets the sum over its experts and shards, in every way of travelling") {
    for (std::uint64_t number = 0; number < 400; ++number) {
        const Block block = random_block(number);
        INFO("block " << number << ": " << block.about());
        RoundTrip trip(block);
        const Traffic traffic = trip.run();
        Traffic expected;
        for (std::int64_t s = 0; s < block.shape.num_ranks(); ++s) {
            const std::int64_t k = block.shape.top_k;
            const Choices& choices = block.sources[at(s)];
            std::vector<double> sums(at(block.num_tokens(s)), 0.0);
            for (std::int64_t t = 0; t < block.num_tokens(s); ++t) {
                std::set<std::int64_t> parts, chunks;  // that hold one of its experts
                for (std::int64_t j = 0; j < k; ++j) {
                    const std::int64_t e = choices.ids[at(t * k + j)];
                    parts.insert(block.shape.part_of_expert(e));
                    chunks.insert(block.shape.part_of_expert(e) * block.chunks + block.chunk_of_expert(e));
                    for (std::int64_t shard = 0; shard < block.shape.num_shards; ++shard)
                        sums[at(t)] += static_cast<double>(choices.weights[at(t * k + j)]) *
                                       expert_of(e, shard, row_of(s, t));
                }
                expected.rows_computed += k * block.shape.num_shards;
                expected.rows_out += (block.dedup ? std::ssize(parts) : k) * block.shape.num_shards;
                expected.rows_home += std::ssize(block.per_chunk ? chunks : parts) * block.shape.num_shards;
            }
            REQUIRE(trip.sums_at(s) == sums);
        }
        REQUIRE(traffic.rows_computed == expected.rows_computed);
        REQUIRE(traffic.rows_out == expected.rows_out);
        REQUIRE(traffic.rows_home == expected.rows_home);
    }
}
