// A case ready to run on this rank, and groups of cases that share their weights.
#pragma once

#include "backend/backend.hpp"
#include "backend/inputs.hpp"
#include "backend/pass_runner.hpp"
#include "config/run_config.hpp"
#include "cost/op_times.hpp"
#include "placement/placement.hpp"
#include "report/report.hpp"
#include "schedule/tables.hpp"

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

namespace eps {

struct LiveCase {
    config::Case config;
    placement::TokenLayout layout;
    const cost::OpTimes* times = nullptr;  // that "auto" decides by
    std::unique_ptr<backend::PassRunner> runner;
    std::unique_ptr<backend::Inputs> inputs;
    std::uint64_t output_hash = 0;  // of this rank's outputs in the validation pass
    report::Result result;
};

/// Cases with the same placement and dtype, in the order of the config.
using CaseGroup = std::vector<LiveCase*>;
backend::Cases runners_of(const CaseGroup& group);

/// The prompts that all cases get. Errors: data (token or routing files), usage.
std::unique_ptr<backend::Prompts> make_prompts(const config::RunConfig& config);

/// `config` and `prompts` outlive the cases.
std::vector<std::unique_ptr<LiveCase>> make_cases(const config::RunConfig& config,
                                                  const backend::Prompts& prompts, std::int64_t rank);

/// Groups in the order of their first case.
std::vector<CaseGroup> make_groups(const std::vector<std::unique_ptr<LiveCase>>& cases);

/// From now on the cases choose by these times, one per dtype; they outlive the cases. Lowers a pass anew.
void choose_by(const std::map<DType, cost::OpTimes>& times, const config::RunConfig& config,
               const backend::Prompts& prompts, std::vector<std::unique_ptr<LiveCase>>& cases);

/// The setup of one case for any rank; `live` outlives it.
schedule::PassSetup pass_setup(const config::RunConfig& config, const LiveCase& live, bool forced_routing);

}  // namespace eps
