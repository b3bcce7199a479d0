// What this rank runs on: its share of the cores, its backend, and what the report says of all of it.
#pragma once

#include "app/launch.hpp"
#include "comm/mpi.hpp"
#include "config/run_config.hpp"
#include "report/report.hpp"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace eps {

/// Sets this rank's threads: those asked for, or its share of the cores it may run on (`cpus`). Collective.
void share_cores(Launch& launch, const std::vector<std::int64_t>& cpus);

/// The backend that a config asks for, on this rank. Errors: usage (it is not in this build), resource.
std::unique_ptr<backend::Backend> make_backend(config::Backend asked, const Launch& launch,
                                               const comm::MpiWorld& mpi);

/// Everything that is known of a run before its first case. Collective.
report::Report start_report(const config::RunConfig& config, const Launch& launch, const comm::MpiWorld& mpi,
                            const std::vector<std::string>& argv, const std::string& utc,
                            const std::vector<std::int64_t>& cpus);

}  // namespace eps
