// The times that "auto" decides by: a calibration that the config names, or this machine's own from the
// cache; what is missing there is measured and kept.
#pragma once

#include "app/launch.hpp"
#include "app/live_case.hpp"
#include "comm/mpi.hpp"
#include "cost/op_times.hpp"

#include <map>
#include <memory>
#include <string>
#include <vector>

namespace eps {

/// The same on every rank.
struct Times {
    std::map<DType, cost::OpTimes> by_dtype;
    std::string path;           // of the file; empty: kept nowhere
    std::int64_t num_measured;  // tables of this run

    report::CalibrationUsed used() const;
    /// For people: where it is, what it knows, how long measuring took.
    std::string told(double elapsed_s) const;
};

/// Does any case leave its chunks or its GEMM kind to the load?
bool chooses(const config::RunConfig& config);

/// Cases have lowered a pass. `everything`: also what no choice depends on. Says in one line that it
/// measures. Errors: usage (a named calibration that is not one, or was measured elsewhere). Collective.
Times find_times(const config::RunConfig& config, const std::vector<std::unique_ptr<LiveCase>>& cases,
                 const Launch& launch, const comm::MpiWorld& mpi, bool everything);

/// The path of a calibration that a config names: a shipped one, or a file. Error(usage), naming the config
/// `where`: there is none.
std::string named_calibration_path(const std::string& name, const std::string& where);
std::string calibrations_to_name();  // "one of ..., or a path"

/// Where this machine's calibrations are kept: "" if no place is known (neither XDG_CACHE_HOME nor HOME).
std::string calibration_folder();

}  // namespace eps
