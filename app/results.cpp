#include "app/results.hpp"

#include "comm/collectives.hpp"
#include "measure/stats.hpp"
#include "model/cost.hpp"
#include "schedule/check_input.hpp"

#include <algorithm>
#include <cstring>
#include <numeric>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace eps {

namespace {

report::Metric metric(std::string name, std::string unit, bool higher_is_better,
                      std::vector<double> samples) {
    const measure::Summary summary = measure::summarize(samples);
    report::Metric made;
    made.name = std::move(name);
    made.unit = std::move(unit);
    made.higher_is_better = higher_is_better;
    made.samples = std::move(samples);
    if (summary.n == 0) return made;
    made.median = summary.median;
    made.min = summary.min;
    made.max = summary.max;
    if (summary.interval) {
        made.ci_low = summary.interval->low;
        made.ci_high = summary.interval->high;
    }
    return made;
}

std::int64_t sum_of_rows(const routing::CountsView& counts, Range experts) {
    std::int64_t rows = 0;
    for (std::int64_t s = 0; s < counts.num_sources; ++s)
        for (std::int64_t e = experts.begin; e < experts.end; ++e) rows += counts.at(s, e, routing::kRows);
    return rows;
}

template <typename T>
std::vector<T> gather_vector(comm::Communicator& world, const std::vector<T>& mine) {
    std::vector<T> all;
    for (const comm::Bytes& bytes : comm::gather_bytes(world, 0, std::as_bytes(std::span(mine)))) {
        const std::size_t at = all.size();
        all.resize(at + bytes.size() / sizeof(T));
        std::memcpy(all.data() + at, bytes.data(), bytes.size());
    }
    return all;
}

}  // namespace

report::Result describe_case(const config::RunConfig& config, const config::Case& asked,
                             const Launch& launch) {
    report::Result result;
    result.name = asked.name;
    result.params = asked.params;
    result.dtype = std::string(name_of(asked.dtype));
    result.link = nlohmann::ordered_json::parse(asked.params).at("link").dump();
    result.tokens = std::accumulate(config.workload.sequence_lengths.begin(),
                                    config.workload.sequence_lengths.end(), std::int64_t{0});
    if (asked.schedule.oracle) result.flags.emplace_back("ORACLE");
    if (launch.backend != nullptr)
        for (const std::string& note : launch.backend->notes()) result.notes.push_back(note);
    if (launch.cores_shared) result.notes.emplace_back("there are more ranks than cores: ranks share cores");
    if (asked.link && !launch.one_clock)
        result.notes.emplace_back(
            "ranks have no common clock: on the emulated wire messages between hosts also take the time of "
            "the "
            "real transfer");
    if (launch.threads > launch.cores_share)
        result.invalid_reasons.push_back(
            fmt::format("{} compute threads a rank were asked for (OMP_NUM_THREADS), its share is {} cores",
                        launch.threads, launch.cores_share));
    add_cost(config, result);
    return result;
}

void add_cost(const config::RunConfig& config, report::Result& result) {
    const auto& lengths = config.workload.sequence_lengths;
    const DType dtype = result.dtype == "bf16" ? DType::bf16 : DType::f32;
    const model::ModelCost cost =
        config.scope == schedule::Scope::model   ? model::cost_of_model(config.model, lengths, dtype)
        : config.scope == schedule::Scope::layer ? model::cost_of_layers(config.model, lengths, dtype)
                                                 : model::cost_of_moe(config.model, result.tokens, dtype);
    const model::PartCost total = cost.total();
    result.model.flops = static_cast<double>(total.flops);
    result.model.bytes = static_cast<double>(total.weight_bytes + total.activation_bytes);
}

void add_measurement(const measure::StoppingRule& rule, const std::vector<double>& seconds,
                     report::Result& result) {
    std::vector<double> rates;
    for (const double s : seconds) rates.push_back(static_cast<double>(result.tokens) / s);
    result.metrics.push_back(metric("tokens_per_second", "tokens/s", true, std::move(rates)));
    result.metrics.push_back(metric("pass_seconds", "s", false, seconds));
    if (std::ssize(seconds) < rule.min_repetitions)
        result.invalid_reasons.push_back(
            fmt::format("{} timed passes, min_repetitions asks for {} (max_seconds and max_repetitions win)",
                        seconds.size(), rule.min_repetitions));
    if (seconds.empty()) {
        if (result.invalid_reasons.empty()) result.invalid_reasons.emplace_back("no timed pass");
        return;
    }
    if (rule.noisy(seconds)) result.flags.emplace_back(report::kNoisy);
    result.model.achieved = result.model.flops / result.metrics.back().median;
}

RankFigures figures_of(const schedule::Tables& tables, std::int64_t weight_bytes, std::int64_t peak_bytes) {
    RankFigures figures{.tokens = 0,
                        .routed_rows = 0,
                        .weight_bytes = weight_bytes,
                        .peak_bytes = peak_bytes,
                        .expert_rows = {}};
    for (const auto& batch : tables.micro_batches) figures.tokens += batch.num_tokens();
    figures.expert_rows.resize(static_cast<std::size_t>(tables.spec().num_layers * tables.block.num_experts));
    return figures;
}

void add_rows(const schedule::Tables& tables, std::int64_t layer, const routing::CountsView& counts,
              RankFigures& figures) {
    const bool first_shard = tables.replicated ? tables.position.tp == 0 : tables.position.etp == 0;
    const Range experts = tables.shards.experts;
    figures.routed_rows += sum_of_rows(counts, experts);
    for (std::int64_t e = experts.begin; e < experts.end && first_shard; ++e)
        figures.expert_rows[static_cast<std::size_t>(layer * tables.block.num_experts + e)] +=
            sum_of_rows(counts, {e, e + 1});
}

namespace {

double over_mean(std::int64_t most, std::int64_t total, std::size_t count) {
    return total == 0 ? report::kUnknown
                      : static_cast<double>(most) * static_cast<double>(count) / static_cast<double>(total);
}

}  // namespace

void set_rank_load(report::Load& load) {
    const auto& rows = load.rows_per_rank;
    load.max_over_mean = over_mean(*std::ranges::max_element(rows),
                                   std::accumulate(rows.begin(), rows.end(), std::int64_t{0}), rows.size());
}

void report_ranks(const std::vector<RankFigures>& ranks, const schedule::PassSetup& setup,
                  report::Result& result) {
    for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
        result.per_rank.push_back({.rank = static_cast<std::int64_t>(rank),
                                   .tokens = ranks[rank].tokens,
                                   .routed_rows = ranks[rank].routed_rows,
                                   .weight_bytes = ranks[rank].weight_bytes,
                                   .peak_bytes = ranks[rank].peak_bytes,
                                   .lanes = {},
                                   .exposed_seconds = 0});
        result.load.rows_per_rank.push_back(ranks[rank].routed_rows);
    }
    set_rank_load(result.load);
    std::vector<std::int64_t> experts;  // of the layers that were routed
    const Range layers = schedule::layers_of(setup);
    const std::int64_t num_experts = setup.spec->n_routed_experts;
    for (std::int64_t layer = layers.begin; layer < layers.end; ++layer) {
        if (!setup.spec->is_moe(layer)) continue;
        for (std::int64_t e = 0; e < num_experts; ++e) {
            std::int64_t total = 0;
            for (const RankFigures& rank : ranks)
                total += rank.expert_rows[static_cast<std::size_t>(layer * num_experts + e)];
            experts.push_back(total);
        }
    }
    if (experts.empty()) return;
    result.load.expert_min_rows = *std::ranges::min_element(experts);
    result.load.expert_max_rows = *std::ranges::max_element(experts);
    result.load.expert_max_over_mean =
        over_mean(result.load.expert_max_rows,
                  std::accumulate(experts.begin(), experts.end(), std::int64_t{0}), experts.size());
}

void add_ranks(comm::Communicator& world, const LiveCase& live, std::int64_t weight_bytes,
               std::int64_t peak_bytes, report::Result& result) {
    const schedule::Tables& tables = live.runner->tables();
    RankFigures mine = figures_of(tables, weight_bytes, peak_bytes);
    for (const backend::GateCounts& gate : live.runner->counts())
        add_rows(tables, gate.layer, schedule::view_of(tables, gate.counts), mine);

    const auto numbers = gather_vector<std::int64_t>(
        world, {mine.tokens, mine.routed_rows, mine.weight_bytes, mine.peak_bytes});
    const auto loads = gather_vector(world, mine.expert_rows);
    if (world.rank() != 0) return;
    std::vector<RankFigures> ranks;
    const auto per_rank = static_cast<std::ptrdiff_t>(mine.expert_rows.size());
    for (std::ptrdiff_t rank = 0; rank < world.size(); ++rank) {
        const std::int64_t* of_rank = numbers.data() + 4 * rank;
        const auto rows = loads.begin() + per_rank * rank;
        ranks.push_back({of_rank[0], of_rank[1], of_rank[2], of_rank[3], {rows, rows + per_rank}});
    }
    report_ranks(ranks, tables.setup, result);
}

void conclude(report::Result& result) {
    result.valid = result.invalid_reasons.empty();
}

}  // namespace eps
