// From what was measured to the report's results.
#pragma once

#include "app/launch.hpp"
#include "app/live_case.hpp"
#include "measure/stopping.hpp"
#include "plan/plan.hpp"
#include "report/report.hpp"
#include "trace/span.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace eps {

/// What is known of a case before it runs: parameters, work of a pass, notes on the launch.
report::Result describe_case(const config::RunConfig& config, const config::Case& asked,
                             const Launch& launch);

/// FLOPs and least bytes of one pass in the config's scope (closed form).
void add_cost(const config::RunConfig& config, report::Result& result);

/// Metrics and flags from the seconds of the timed passes, and the verdict's share that depends on them.
void add_measurement(const measure::StoppingRule& rule, const std::vector<double>& seconds,
                     report::Result& result);

/// J per 1000 tokens, clock and power, and what slowdowns mean for the verdict. Collective; fills on rank 0.
void add_energy(comm::Communicator& world, const backend::MeterReading& mine, const std::string& host,
                report::Result& result);

/// Rows and memory of one rank in one pass.
struct RankFigures {
    std::int64_t tokens = 0;
    std::int64_t routed_rows = 0;
    std::int64_t weight_bytes = 0;
    std::int64_t peak_bytes = 0;
    std::vector<std::int64_t> expert_rows;  // (layer, expert) rows that it computes, once per etp group
};

/// Fills max_over_mean from rows_per_rank.
void set_rank_load(report::Load& load);

/// Without rows.
RankFigures figures_of(const schedule::Tables& tables, std::int64_t weight_bytes, std::int64_t peak_bytes);
/// Adds what a gate's counts give this rank.
void add_rows(const schedule::Tables& tables, std::int64_t layer, const routing::CountsView& counts,
              RankFigures& figures);
/// Rows, memory and load of every rank, to the result.
void report_ranks(const std::vector<RankFigures>& ranks, const schedule::PassSetup& setup,
                  report::Result& result);

/// The same, each rank giving its own. Collective; fills on rank 0.
void add_ranks(comm::Communicator& world, const LiveCase& live, std::int64_t weight_bytes,
               std::int64_t peak_bytes, report::Result& result);

/// Busy time per op kind and lane, exposed communication, per rank and as a mean, from one traced pass.
void add_phases(const plan::RankPlan& plan, const std::vector<trace::Span>& spans, std::int64_t num_ranks,
                report::Result& result);

/// GEMM kinds in the plans of all ranks: "dense", "dense group", "" or, where ranks differ, "mixed".
/// Collective.
std::string gemm_kinds_of_all(comm::Communicator& world, const plan::RankPlan& plan);

/// What each "auto" of the case came to, as JSON text.
std::string chosen_of(const LiveCase& live, const std::string& kinds, const backend::Backend& backend);

/// How each layer's experts were divided and computed, and predicted times beside those of the traced pass
/// (`spans`, all ranks, on rank 0). Collective; fills on rank 0.
void add_choices(comm::Communicator& world, const LiveCase& live, const std::vector<trace::Span>& spans,
                 report::Result& result);

/// `valid` and what depends on it, once all else is filled.
void conclude(report::Result& result);

}  // namespace eps
