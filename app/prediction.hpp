// What a run will need before anything is allocated: memory of each rank, bytes on each link, FLOPs
// (--dry-run, --plan), and the refusal of what does not fit.
#pragma once

#include "app/launch.hpp"
#include "app/live_case.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace eps {

/// Bytes of one rank for a group of cases that live together.
struct PredictedMemory {
    std::int64_t weights = 0;  // as held: packed for the GEMM, or plain
    std::int64_t buffers = 0;  // work buffers, shared by the group's cases, and each case's inputs
    std::int64_t loading = 0;  // on top of the weights while one of them is being packed

    std::int64_t peak() const { return weights + std::max(buffers, loading); }
};

/// From the closed form and from passes lowered with expected counts (exact where routing is forced).
PredictedMemory predict_memory(const CaseGroup& group, const kernels::Kernels& kernels);

/// Lowers a pass of every case from expected counts, after checking by closed form that this alone is
/// affordable. Throws Error(resource) with the figures when a rank's host has not the memory. Collective.
void check_resources(const config::RunConfig& config, const backend::Prompts& prompts,
                     const std::vector<CaseGroup>& groups, const Launch& launch);

/// The text of --dry-run, on rank 0. Collective.
std::string dry_run_text(const config::RunConfig& config, const std::vector<CaseGroup>& groups,
                         const Launch& launch);

/// The text of --plan: the plan of a pass of every case, all ranks, on rank 0. Collective.
std::string plan_text(const std::vector<CaseGroup>& groups, const Launch& launch);

}  // namespace eps
