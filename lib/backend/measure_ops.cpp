// Calibration of ops that one rank runs: which sizes, and the tables that become of them.
#include "backend/calibrate.hpp"
#include "base/error.hpp"

#include <algorithm>
#include <string>

#include <fmt/format.h>

namespace eps::backend {

namespace {

/// `seconds_at` 1, second, second * step, ... and `most`, until a run is long.
cost::TimeTable measured_at(const CalibrationSetup& setup, const cost::Wanted& w, std::int64_t second,
                            std::int64_t step, std::int64_t most, const SecondsAt& seconds_at) {
    cost::TimeTable table;
    for (std::int64_t size = 1;; size = std::min(std::max(second, size * step), most)) {
        const Measurement measurement(setup, fmt::format("{}, size {}", described(w), size));
        const double seconds = seconds_at(size);
        table.sizes.push_back(static_cast<double>(size));
        table.seconds.push_back(seconds);
        if (size == most || seconds > cost::kLongRun_s) return table;
    }
}

cost::TimeTable measured_at(const CalibrationSetup& setup, const cost::Wanted& w, const Grain& grain,
                            std::int64_t most, const SecondsAt& seconds_at) {
    return measured_at(setup, w, grain.second_size, grain.step, most, seconds_at);
}

cost::GemmTimes& gemm_of(cost::DTypeTimes& times, std::int64_t n, std::int64_t k) {
    for (cost::GemmTimes& gemm : times.gemms)
        if (gemm.n == n && gemm.k == k) return gemm;
    return times.gemms.emplace_back(cost::GemmTimes{.n = n, .k = k, .by_rows = {}, .experts = {}});
}

std::vector<cost::ExpertGemmTimes> measured_experts(const CalibrationSetup& setup, const cost::Wanted& w,
                                                    const Grain& grain) {
    MicroBench& bench = *setup.bench;
    std::vector<std::int64_t> sizes{1};
    for (const std::int64_t size : grain.group_sizes)
        if (size > sizes.back() && size <= w.num_experts) sizes.push_back(size);
    // So many rows an expert, in a chunk of so many experts.
    const auto most_rows = [&](std::int64_t num_experts) {
        return std::clamp<std::int64_t>(grain.most_group_rows / num_experts, 1, w.most);
    };
    std::int64_t most_in_all = w.most;
    for (const std::int64_t size : sizes) most_in_all = std::max(most_in_all, size * most_rows(size));
    const ExpertSeconds seconds = bench.experts(w, sizes.back(), most_in_all);
    std::vector<cost::ExpertGemmTimes> measured;
    for (const auto kind : {plan::GemmKind::group, plan::GemmKind::dense})
        for (std::size_t i = 0; i < sizes.size(); ++i) {
            if (kind == plan::GemmKind::dense && !bench.kinds_differ(w)) {
                measured.push_back(measured[i]);
                measured.back().kind = kind;
                continue;
            }
            const std::int64_t most = sizes[i] == 1 ? w.most : most_rows(sizes[i]);
            const auto by_rows = measured_at(
                setup, w, grain, most, [&](std::int64_t rows) { return seconds(kind, sizes[i], rows); });
            measured.push_back({kind, sizes[i], by_rows, bench.with_swiglu(w, kind)});
        }
    return measured;
}

/// Tokens that go round the experts, the model's top k; two parts where rows travel.
IndexWork index_work(const model::ModelSpec& spec, bool travels, std::int64_t num_tokens) {
    const std::int64_t num_experts = std::max<std::int64_t>(1, spec.n_routed_experts);
    const std::int64_t k = std::max<std::int64_t>(1, spec.num_experts_per_tok);
    IndexWork work;
    work.block = {num_experts, travels ? 2 : 1, 1, k};
    work.travels = travels;
    work.num_tokens = num_tokens;
    for (std::int64_t t = 0; t < num_tokens; ++t)
        for (std::int64_t j = 0; j < k; ++j)
            work.ids.push_back(static_cast<std::int32_t>((t * 5 + j) % num_experts));
    work.weights.assign(work.ids.size(), 1.0F);
    work.counts.resize(at(2 * num_experts * 3));
    work.slots.resize((work.ids.size() + 1) * at(work.block.slot_columns()));
    std::vector<std::int32_t> order(work.ids.size() + 1);
    const auto own_counts = std::span(work.counts).first(at(num_experts * 3));
    const std::int64_t num_sent =
        routing::route(work.block, work.ids, work.weights, 0, true, own_counts, order, work.slots);
    work.slots.resize(at(num_sent * work.block.slot_columns()));
    for (std::int64_t e = 0; e < work.block.experts_of(0).end; ++e)
        work.num_arrived += work.counts[at(e * 3 + routing::kFirst)];
    return work;
}

cost::TimeTable measured_index_op(const CalibrationSetup& setup, const cost::Wanted& w, std::string_view op,
                                  bool on_exchange_lane) {
    const bool travels = op != "map_rows" || on_exchange_lane;
    const bool by_slots = op == "map_rows" && on_exchange_lane;
    const routing::BlockShape block = index_work(*setup.spec, travels, 1).block;
    const std::int64_t row_bytes = 4 * (op == "map_home" ? block.top_k
                                        : by_slots       ? block.slot_columns()
                                                         : 2 * block.top_k);
    cost::TimeTable table =
        measured_at(setup, w, 4, 4, std::max<std::int64_t>(1, w.most / row_bytes), [&](std::int64_t rows) {
            const IndexWork work = index_work(*setup.spec, travels, rows);
            const double seconds = setup.bench->index_op(op, work);
            if (!by_slots || work.num_arrived == 0) return seconds;
            return seconds * static_cast<double>(rows) / static_cast<double>(work.num_arrived);
        });
    for (double& size : table.sizes) size *= static_cast<double>(row_bytes);
    return table;
}

void measure_memory(const CalibrationSetup& setup, const cost::Wanted& w, cost::DTypeTimes& times) {
    const std::string op(plan::kOpNames[at(w.n)]);
    const bool exchanges = w.what == cost::Asked::exchange_op;
    cost::OpTables& tables = exchanges ? times.exchange_ops : times.compute_ops;
    if (op == "route" || op == "map_rows" || op == "map_home") {
        tables[op] = measured_index_op(setup, w, op, exchanges);
        return;
    }
    const double of_row = moved_columns(op) * static_cast<double>(w.k * bytes_of(w.dtype));
    if (of_row <= 0) return;
    const auto most_rows =
        std::max<std::int64_t>(1, static_cast<std::int64_t>(static_cast<double>(w.most) / of_row));
    cost::TimeTable table = measured_at(setup, w, 8, 8, most_rows,
                                        setup.bench->memory_op(op, w.dtype, w.k, most_rows, exchanges));
    for (double& size : table.sizes) size *= of_row;
    tables[op] = std::move(table);
}

}  // namespace

double moved_columns(std::string_view op) {
    if (op == "clear") return 1;
    if (op == "add" || op == "reduce_scatter" || op == "unpack_sum") return 3;
    if (op == "swiglu") return 1.5;
    const bool moves =
        op == "embed" || op == "rms_norm" || op == "rope" || op == "pack_rows" || op == "local_reduce";
    return moves ? 2 : 0;
}

void measure_ops(const CalibrationSetup& setup, const cost::Wanted& wanted, cost::DTypeTimes& times) {
    MicroBench& bench = *setup.bench;
    const Grain grain = bench.grain({});
    switch (wanted.what) {
        case cost::Asked::linear:
            gemm_of(times, wanted.n, wanted.k).by_rows =
                measured_at(setup, wanted, grain, wanted.most, bench.linear(wanted));
            return;
        case cost::Asked::experts:
            gemm_of(times, wanted.n, wanted.k).experts = measured_experts(setup, wanted, grain);
            return;
        case cost::Asked::gate:
            times.gates.push_back(
                {wanted.n, wanted.k, measured_at(setup, wanted, grain, wanted.most, bench.gate(wanted))});
            return;
        case cost::Asked::attention:
            times.attentions.push_back(
                {wanted.n, wanted.k,
                 measured_at(setup, wanted, grain, wanted.most, bench.attention(wanted))});
            return;
        case cost::Asked::compute_op:
        case cost::Asked::exchange_op:
            return measure_memory(setup, wanted, times);
        case cost::Asked::exchange:
            return;  // of all ranks together
    }
    throw Error(Exit::internal, "unknown thing to measure");
}

}  // namespace eps::backend
