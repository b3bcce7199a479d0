// A report of an earlier run, read back: what a comparison needs of it.
#pragma once

#include "report/report.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace eps::report {

/// Names and what they stand for, JSON text where it comes from the config.
using Values = std::map<std::string, std::string>;

struct PastCase {
    std::string name;
    Values params;  // the case's keys; dtype and link as they took effect
    Values chosen;  // what "auto" came to
    bool valid = false;
    std::vector<std::string> invalid_reasons;
    std::int64_t num_samples = 0;
    double median = kUnknown;      // tokens per second; known and above 0 where valid
    std::optional<double> ci_low;  // of the median; of a modelled case, which has no noise, the median itself
    std::optional<double> ci_high;
    double flops = kUnknown;  // of a pass
};

struct PastReport {
    std::string path;
    std::string name;  // of the run
    std::string run_id;
    std::string utc_start;
    std::string version;
    std::string git_sha;
    bool git_dirty = false;
    bool finished = true;   // all cases are there
    bool modelled = false;  // by the simulator, not measured
    Values work;            // what was computed: model, scope and workload by JSON pointer, without nulls
    Values conditions;      // where and how: host, threads, libraries, ...
    Values variables;       // environment variables that change what a run does
    std::vector<PastCase> cases;
};

/// Reads a report's text; `path` is for messages. Fields that no verdict rests on may be missing. Throws
/// Error(usage) for what is not strict JSON, no report, of another schema version, without cases, or lacks
/// what a verdict needs, naming the JSON pointer.
PastReport read_past_report(const std::string& text, const std::string& path);

}  // namespace eps::report
