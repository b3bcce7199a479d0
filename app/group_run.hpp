// Phases of a group of cases that share their weights: weights, validation, measurement, tracing, results.
#pragma once

#include "app/launch.hpp"
#include "app/live_case.hpp"
#include "app/validation.hpp"
#include "checkpoint/weight_source.hpp"
#include "report/progress.hpp"
#include "trace/span.hpp"

#include <string>
#include <vector>

namespace eps {

/// The traced pass of one case, all ranks, on rank 0: for the timeline.
struct CaseTrace {
    std::string case_name;
    std::string link;  // JSON text
    std::vector<plan::Lane> lanes;
    std::vector<trace::Span> spans;
};

/// Runs the group and fills the results of its cases (on rank 0). Collective.
void run_group(const config::RunConfig& config, const backend::Prompts& prompts,
               const checkpoint::WeightSource& source, const Launch& launch, const CaseGroup& group,
               Validation& validation, report::Progress& progress, std::vector<CaseTrace>& traces);

}  // namespace eps
