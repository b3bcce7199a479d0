// Cases on virtual clocks (backend "sim"): all ranks' plans lowered, checked and simulated in one process.
#pragma once

#include "app/group_run.hpp"
#include "app/live_case.hpp"
#include "cost/op_times.hpp"

#include <string>

namespace eps {

/// Layers beyond the `kSimulatedMoeLayers`-th MoE layer are not simulated where ranks times layers are more
/// than this: each takes what the last simulated one adds.
constexpr std::int64_t kMostRankLayers = 2048;
constexpr std::int64_t kSimulatedMoeLayers = 2;

/// What is modelled, for the report: where the times come from.
struct ModelledMachine {
    const cost::OpTimes* times = nullptr;
    std::string name;  // of the calibration
};

/// Fills the case's result, all but the verdict, and returns its spans. Rules R1, R7 and R8 are checked at
/// any size, the others where following every row is affordable.
CaseTrace simulate_case(const config::RunConfig& config, const backend::Prompts& prompts,
                        const ModelledMachine& machine, LiveCase& live);

}  // namespace eps
