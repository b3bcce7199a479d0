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

/// The path of the calibration to model with: one that the config names (shipped, or a file), otherwise that
/// of this machine with as many ranks as are modelled, from the cache. The launch's backend is that of the
/// CPU, null where it is not built. Error(usage), naming the config: it is not there. Not collective.
std::string modelled_calibration_path(const config::RunConfig& config, const Launch& launch,
                                      const comm::MpiWorld& mpi);

/// Where this machine's calibrations are kept: "" if no place is known (neither XDG_CACHE_HOME nor HOME).
std::string calibration_folder();

}  // namespace eps
