// How long the lowering of an experts segment takes, from histograms to ops, on one core with everything
// warm; and beside it the index work on rows that the ops MapRows and MapHome do. The experts are those of
// DeepSeek-V2 (160, top 6), in n = 10 chunks.
//   bench_planning [tokens per rank [calibration to choose by]]
#include "base/json.hpp"
#include "base/random.hpp"
#include "schedule/lowering.hpp"
#include "tests/count_allocations.hpp"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <string>

#include <fmt/core.h>

namespace {

using namespace eps;

constexpr std::int64_t kExperts = 160, kTopK = 6, kChunks = 10;

/// Distinct experts, uniformly drawn.
std::vector<std::int32_t> choose(std::int64_t rank, std::int64_t num_tokens) {
    std::vector<std::int32_t> ids;
    const std::uint64_t key = stream_key(static_cast<std::uint64_t>(rank), "choices");
    for (std::uint64_t n = 0; std::ssize(ids) < num_tokens * kTopK; ++n) {
        const auto id = static_cast<std::int32_t>(random_bits(key, n) % kExperts);
        const auto of_token = ids.end() - std::ssize(ids) % kTopK;
        if (std::find(of_token, ids.end(), id) == ids.end()) ids.push_back(id);
    }
    return ids;
}

struct Routed {
    std::vector<std::int32_t> counts, order, slots;
};

Routed route(const routing::BlockShape& block, const std::vector<std::int32_t>& ids) {
    const std::vector<float> weights(ids.size(), 1.0F);
    Routed routed{std::vector<std::int32_t>(at(kExperts * 3)), std::vector<std::int32_t>(ids.size()),
                  std::vector<std::int32_t>(ids.size() * at(block.slot_columns()))};
    const std::int64_t num_sent =
        routing::route(block, ids, weights, 0, true, routed.counts, routed.order, routed.slots);
    routed.slots.resize(at(num_sent * block.slot_columns()));
    return routed;
}

struct Times {
    double median_us = 0, best_us = 0;
    double allocations = 0;  // a call
};

template <typename F>
Times measure(F&& f) {
    for (int i = 0; i < 3; ++i) f();
    std::vector<double> times;
    double total = 0;
    const std::int64_t allocations_before = num_allocations;
    std::int64_t in_list = 0;  // allocations of `times` itself
    while (times.size() < 20 || (total < 2e5 && times.size() < 5000)) {
        const auto start = std::chrono::steady_clock::now();
        f();
        const std::chrono::duration<double, std::micro> elapsed = std::chrono::steady_clock::now() - start;
        const std::int64_t before = num_allocations;
        times.push_back(elapsed.count());
        in_list += num_allocations - before;
        total += times.back();
    }
    const auto num_calls = static_cast<double>(times.size());
    std::sort(times.begin(), times.end());
    return {times[times.size() / 2], times.front(),
            static_cast<double>(num_allocations - allocations_before - in_list) / num_calls};
}

/// Figures of about the right order: choosing takes as long whatever they are.
cost::Calibration made_up_calibration() {
    const auto line = [](double fixed_s, double per_unit_s) {
        cost::TimeTable table;
        for (double size = 1; size < 1e9; size *= 4) {
            table.sizes.push_back(size);
            table.seconds.push_back(fixed_s + size * per_unit_s);
        }
        return table;
    };
    cost::Calibration made;
    made.chunk_overhead_s = 30e-6;
    made.exchanges = {{"mpi", 1, line(1e-5, 1e-9), line(2e-5, 1e-9)}};
    made.copy = line(1e-6, 1e-10);
    made.dtypes.emplace_back();
    for (const auto& [n, k] : {std::pair{3072, 5120}, {5120, 1536}}) {
        cost::GemmTimes gemm{.n = n, .k = k, .by_rows = {}, .experts = {}};
        for (const auto kind : {plan::GemmKind::group, plan::GemmKind::dense})
            for (const int num_experts : {1, 2, 8})
                gemm.experts.push_back({kind, num_experts, line(1e-5, 1e-5)});
        made.dtypes.back().gemms.push_back(gemm);
    }
    for (const char* op : {"pack_rows", "swiglu", "local_reduce", "unpack_sum"})
        made.dtypes.back().compute_ops[op] = line(1e-6, 1e-10);
    for (const char* op : {"pack_rows", "map_rows", "map_home"})
        made.dtypes.back().exchange_ops[op] = line(1e-6, 1e-10);
    return made;
}

void bench(std::int64_t num_ranks, std::int64_t tokens_per_rank, bool overlap,
           const cost::Calibration& calibration) {
    model::ModelSpec spec;
    spec.num_layers = 1;
    spec.hidden_size = 5120;
    spec.moe_intermediate_size = 1536;
    spec.n_routed_experts = kExperts;
    spec.num_experts_per_tok = kTopK;
    schedule::PassSetup setup;
    setup.spec = &spec;
    setup.placement = {.attention_dp = num_ranks, .ep = num_ranks};
    setup.scope = schedule::Scope::moe;
    setup.schedule = {.chunk_by = schedule::ChunkBy::expert, .chunks = kChunks, .overlap = overlap};
    const placement::TokenLayout layout = placement::lay_out_tokens(
        setup.placement, std::vector<std::int64_t>(at(num_ranks), tokens_per_rank), 1);
    setup.layout = &layout;

    const std::int64_t rank = num_ranks / 2;
    plan::PlanBuilder builder;
    const schedule::Tables tables = schedule::make_tables(setup, rank, builder);
    schedule::Lowering lowering(tables, builder);
    std::vector<std::int32_t> counts, slots;
    for (std::int64_t s = 0; s < num_ranks; ++s) {
        const Routed routed = route(tables.block, choose(s, tokens_per_rank));
        counts.insert(counts.end(), routed.counts.begin(), routed.counts.end());
        const std::int64_t columns = tables.block.slot_columns();
        for (std::size_t i = 0; i < routed.slots.size(); i += at(columns)) {
            const auto* ids = routed.slots.data() + i + 1;
            if (std::any_of(ids, ids + kTopK,
                            [&](std::int32_t id) { return tables.shards.experts.contains(id); }))
                slots.insert(slots.end(), ids - 1, ids - 1 + columns);
        }
    }
    const routing::CountsView view{counts.data(), num_ranks, kExperts, 3};
    const plan::Segment segment{plan::SegmentKind::experts, 0, 0};

    const Times lower = measure([&] {
        builder.begin_pass();
        lowering.lower(segment, view);
    });
    const auto& ops = builder.plan();
    fmt::print(
        "{:>5} ranks  {:<10} lower {:>9.1f} us  best {:>9.1f}  {:>4} ops {:>4} edges {:>6} transfers  "
        "{:g} allocations\n",
        num_ranks, overlap ? "overlapped" : "serial", lower.median_us, lower.best_us, ops.ops.size(),
        ops.after.size(), ops.transfers.size(), lower.allocations);
    if (!overlap) return;

    // n and the kinds of GEMM by load.
    const cost::OpTimes times(calibration, calibration.dtypes.front().dtype, "bench");
    schedule::PassSetup by_load = setup;
    by_load.schedule.chunks.reset();
    by_load.times = &times;
    plan::PlanBuilder load_builder;
    const schedule::Tables load_tables = schedule::make_tables(by_load, rank, load_builder);
    schedule::Lowering load_lowering(load_tables, load_builder);
    const Times chosen = measure([&] {
        load_builder.begin_pass();
        load_lowering.lower(segment, view);
    });
    fmt::print(
        "{:>5} ranks  {:<10} choose and lower {:>9.1f} us  best {:>9.1f}  {:>4} ops  {:g} allocations\n",
        num_ranks, "by load", chosen.median_us, chosen.best_us, load_builder.plan().ops.size(),
        chosen.allocations);

    const std::vector<std::int32_t> ids = choose(rank, tokens_per_rank);
    const std::size_t room = std::max(slots.size(), ids.size()) + 1;
    std::vector<std::int32_t> order(room), starts(room), index(room);
    std::vector<float> weights(room);
    const Times routing = measure([&] { route(tables.block, ids); });
    std::vector<std::int64_t> bounds;
    routing::divide_evenly(tables.block, kChunks, bounds);
    const routing::Chunks chunks(tables.block, bounds);
    const Times holder = measure([&] {
        routing::map_rows(tables.block, tables.position.ep, view, slots, chunks, true, false, order,
                          {starts, index, weights});
    });
    const Times home = measure([&] { routing::map_home(tables.block, ids, chunks, false, starts, index); });
    fmt::print(
        "{:>5} ranks  {:<10} route {:>9.1f} us  map_rows {:>7.1f} us  map_home {:>7.1f} us  for {} tokens "
        "a rank\n",
        num_ranks, "row index", routing.median_us, holder.median_us, home.median_us, tokens_per_rank);
}

}  // namespace

int main(int argc, char** argv) {
    const std::int64_t tokens_per_rank = argc > 1 ? std::atoll(argv[1]) : 512;
    const cost::Calibration calibration =
        argc > 2 ? cost::read_calibration(read_text_file(argv[2], Exit::usage), argv[2])
                 : made_up_calibration();
    for (const std::int64_t num_ranks : {2, 4, 64, 1024})
        for (const bool overlap : {true, false}) bench(num_ranks, tokens_per_rank, overlap, calibration);
}
