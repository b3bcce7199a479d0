// What a run will need before anything is allocated: memory of each rank, bytes on each link, FLOPs
// (--dry-run, --plan), and the refusal of what does not fit.
#pragma once

#include "app/launch.hpp"
#include "app/live_case.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace eps {

/// Lowers a pass of every case from expected counts, after checking by closed form that this alone is
/// affordable. Throws Error(resource) with the figures when there is not the memory. Collective.
void check_resources(const config::RunConfig& config, const backend::Prompts& prompts,
                     const std::vector<CaseGroup>& groups, const Launch& launch);

/// The text of --dry-run, on rank 0. Collective.
std::string dry_run_text(const config::RunConfig& config, const std::vector<CaseGroup>& groups,
                         const Launch& launch);

/// The text of --plan: the plan of a pass of every case, all ranks, on rank 0. Collective.
std::string plan_text(const std::vector<CaseGroup>& groups, const Launch& launch);

}  // namespace eps
