// Row maps made on the device equal the host's, value for value: random blocks, uneven and real shapes.
#include "kernels/cuda/maps.hpp"
#include "tests/kernels/cuda/device_matrix.hpp"
#include "tests/routing/random_block.hpp"

using namespace eps;
using namespace eps::kernels;
using row_map_tests::random_block;
using row_map_tests::Routed;

namespace {

/// A block as the device has it.
class OnDevice {
  public:
    explicit OnDevice(const row_map_tests::Block& block)
        : host_(block), part_begin_(part_begin(block)), bounds_(bounds(block)) {
        std::int64_t most = 1;
        for (std::int64_t s = 0; s < std::ssize(block.sources); ++s)
            most = std::max(most, block.num_tokens(s));
        most_tokens_ = most;
        workspace_ = std::make_unique<DeviceArray<std::byte>>(std::vector<std::byte>(
            device::map_workspace_bytes(shape(), most, block.shape.num_ranks()), std::byte{0x5a}));
    }

    device::Block shape() const {
        return {.num_experts = host_.shape.num_experts,
                .num_parts = host_.shape.num_parts,
                .num_shards = host_.shape.num_shards,
                .top_k = host_.shape.top_k,
                .num_chunks = host_.chunks,
                .part_begin = part_begin_.get(),
                .chunk_bounds = bounds_.get(),
                .dedup = host_.dedup,
                .per_chunk = host_.per_chunk};
    }
    std::int64_t most_tokens() const { return most_tokens_; }
    void* workspace() const { return workspace_->get(); }

  private:
    static std::vector<std::int32_t> part_begin(const row_map_tests::Block& block) {
        std::vector<std::int32_t> begin;
        for (std::int64_t p = 0; p <= block.shape.num_parts; ++p)
            begin.push_back(static_cast<std::int32_t>(
                p < block.shape.num_parts ? block.shape.experts_of(p).begin : block.shape.num_experts));
        return begin;
    }
    static std::vector<std::int32_t> bounds(const row_map_tests::Block& block) {
        return {block.chunk_bounds.begin(), block.chunk_bounds.end()};
    }

    const row_map_tests::Block& host_;
    DeviceArray<std::int32_t> part_begin_, bounds_;
    std::int64_t most_tokens_ = 1;
    std::unique_ptr<DeviceArray<std::byte>> workspace_;
};

using Ints = std::vector<std::int32_t>;

void check_route(const row_map_tests::Block& block, const OnDevice& on_device, std::int64_t source,
                 const Routed& expected) {
    const row_map_tests::Choices& choices = block.sources[at(source)];
    const DeviceArray<std::int32_t> ids(choices.ids), counts(Ints(expected.counts.size(), -1)),
        order(Ints(expected.send_order.size(), -1)), slots(Ints(expected.sent_slots.size(), -7));
    const DeviceArray<float> weights(choices.weights);
    device::route(nullptr, on_device.shape(), ids.get(), weights.get(), block.num_tokens(source),
                  counts.get(), order.get(), slots.get(), on_device.workspace());
    CHECK(counts.host() == expected.counts);
    CHECK(order.host() == expected.send_order);
    CHECK(slots.host() == expected.sent_slots);
}

void check_map_rows(const row_map_tests::Block& block, const OnDevice& on_device, std::int64_t part,
                    const std::vector<Routed>& routed) {
    const row_map_tests::Counts counts(block, routed);
    const Range experts = block.shape.experts_of(part);
    const std::int64_t sources = block.shape.num_ranks(), columns = block.shape.slot_columns();
    Ints slots;
    std::int64_t num_rows = 0, num_home = 0;
    for (std::int64_t s = 0; s < sources; ++s) {
        const auto field = routing::out_field(block.dedup);
        const std::int64_t begin = counts.sum(s, {0, experts.begin}, field);
        const std::int64_t end = begin + counts.sum(s, experts, field);
        const auto& all = routed[at(s)].sent_slots;
        slots.insert(slots.end(), all.begin() + begin * columns, all.begin() + end * columns);
        num_rows += counts.sum(s, experts, routing::kRows);
        num_home += counts.sum(s, experts, routing::home_field(block.per_chunk));
    }
    Ints order(at(num_rows)), starts(at(num_home + 1)), index(at(num_rows));
    std::vector<float> weights(at(num_rows));
    routing::map_rows(block.shape, part, counts.view, slots, block.chunks_of_parts(), block.dedup,
                      block.per_chunk, order, {starts, index, weights});

    // The device knows only how many there may be.
    constexpr std::size_t kSpare = 37;
    slots.resize(slots.size() + kSpare * at(columns), 1);
    const DeviceArray<std::int32_t> all_counts(counts.numbers), arrived(slots),
        found_order(Ints(order.size(), -1)), found_starts(Ints(starts.size() + kSpare, -1)),
        found_index(Ints(index.size(), -1));
    const DeviceArray<float> found_weights(std::vector<float>(weights.size(), -1));
    device::map_rows(nullptr, on_device.shape(), part, all_counts.get(), sources, arrived.get(),
                     std::ssize(slots) / columns, on_device.most_tokens(),
                     num_home + static_cast<std::int64_t>(kSpare), found_order.get(),
                     {found_starts.get(), found_index.get(), found_weights.get()}, on_device.workspace());
    Ints all_starts = found_starts.host();
    all_starts.resize(starts.size());
    CHECK(found_order.host() == order);
    CHECK(all_starts == starts);
    CHECK(found_index.host() == index);
    CHECK(found_weights.host() == weights);
}

void check_map_home(const row_map_tests::Block& block, const OnDevice& on_device, std::int64_t source) {
    const Ints& choices = block.sources[at(source)].ids;
    const std::int64_t num_tokens = block.num_tokens(source);
    Ints starts(at(num_tokens + 1)), index(choices.size() * at(block.shape.num_shards));
    const std::int64_t entries =
        routing::map_home(block.shape, choices, block.chunks_of_parts(), block.per_chunk, starts, index);
    index.resize(at(entries));
    const DeviceArray<std::int32_t> ids(choices), found_starts(Ints(starts.size(), -1)),
        found_index(Ints(index.size(), -1));
    device::map_home(nullptr, on_device.shape(), ids.get(), num_tokens, found_starts.get(), found_index.get(),
                     on_device.workspace());
    CHECK(found_starts.host() == starts);
    CHECK(found_index.host() == index);
}

// All experts on one rank, and nothing travels.
void check_at_home(std::int64_t num_experts, std::int64_t top_k, std::int64_t num_tokens) {
    INFO(num_experts << " experts, top " << top_k << ", " << num_tokens << " tokens at home");
    row_map_tests::Dice dice{stream_key(3, "at home")};
    row_map_tests::Block block;
    block.shape = {num_experts, 1, 1, top_k};
    routing::divide_evenly(block.shape, 1, block.chunk_bounds);
    block.sources.push_back(row_map_tests::choose(block.shape, num_tokens, dice));
    const row_map_tests::Choices& choices = block.sources.front();
    Ints counts(at(3 * num_experts)), order(choices.ids.size()), starts(at(num_tokens + 1)),
        index(choices.ids.size());
    std::vector<float> weights(choices.ids.size());
    routing::count_rows(choices.ids, counts, 3);
    routing::map_rows_at_home(block.shape, choices.ids, choices.weights, order, {starts, index, weights});

    const OnDevice on_device(block);
    const DeviceArray<std::int32_t> ids(choices.ids), found_counts(Ints(counts.size(), -1)),
        found_order(Ints(order.size(), -1)), found_starts(Ints(starts.size(), -1)),
        found_index(Ints(index.size(), -1));
    const DeviceArray<float> sent_weights(choices.weights), found_weights(std::vector<float>(weights.size()));
    device::count_rows(nullptr, on_device.shape(), ids.get(), num_tokens, found_counts.get(),
                       on_device.workspace());
    device::map_rows_at_home(nullptr, on_device.shape(), ids.get(), sent_weights.get(), num_tokens,
                             found_order.get(), {found_starts.get(), found_index.get(), found_weights.get()},
                             on_device.workspace());
    const Ints all = found_counts.host();
    for (std::int64_t e = 0; e < num_experts; ++e) CHECK(all[at(3 * e)] == counts[at(3 * e)]);
    CHECK(found_order.host() == order);
    CHECK(found_starts.host() == starts);
    CHECK(found_index.host() == index);
    CHECK(found_weights.host() == weights);
}

void check_block(const row_map_tests::Block& block) {
    INFO(block.about());
    const OnDevice on_device(block);
    std::vector<Routed> routed;
    for (std::int64_t s = 0; s < block.shape.num_ranks(); ++s) {
        routed.push_back(row_map_tests::route(block, s));
        check_route(block, on_device, s, routed.back());
        check_map_home(block, on_device, s);
    }
    for (std::int64_t part = 0; part < block.shape.num_parts; ++part)
        check_map_rows(block, on_device, part, routed);
}

}  // namespace

TEST_CASE("maps on the device: random blocks", "[long]") {
    for (std::uint64_t number = 0; number < 150; ++number) {
        INFO("block " << number);
        check_block(random_block(number));
    }
}

TEST_CASE("maps on the device: at home") {
    for (const std::int64_t num_tokens : {0, 1, 31, 32, 33, 4096}) {
        check_at_home(160, 6, num_tokens);
        check_at_home(15, 3, num_tokens);
        check_at_home(1, 1, num_tokens);
    }
}

TEST_CASE("maps on the device: many tokens") {
    for (const bool dedup : {true, false})
        for (const bool per_chunk : {false, true}) {
            row_map_tests::Dice dice{stream_key(7, "many")};
            row_map_tests::Block block;
            block.shape = {160, 4, 1, 6};
            block.chunks = 10;
            routing::divide_evenly(block.shape, block.chunks, block.chunk_bounds);
            block.dedup = dedup;
            block.per_chunk = per_chunk;
            for (const std::int64_t tokens : {3000, 0, 4096, 31})
                block.sources.push_back(row_map_tests::choose(block.shape, tokens, dice));
            check_block(block);
        }
}
