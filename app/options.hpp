// The command line: a run, or a subcommand. What concerns the run itself becomes overlays of the config; the
// rest are fields here.
#pragma once

#include "app/compare_options.hpp"

#include <optional>
#include <string>
#include <vector>

namespace eps {

struct Options {
    std::optional<CompareOptions> compare;  // a subcommand; the other fields belong to a run
    bool calibrate = false;                 // the subcommand, of a run's config
    std::string config_path;
    std::vector<std::string> sets;  // "/json/pointer=value", applied in order: flags first, then every --set
    bool dry_run = false;           // print placement, memory, bytes and FLOPs; run nothing
    bool plan = false;              // print the plan of a pass
    bool list_devices = false;      // print the devices of this machine; run nothing
    bool share_devices = false;     // more ranks than devices are wanted
    double load_margin = 1.25;      // planned room for routed rows over those expected
    bool graphs = true;             // on GPUs: ops that are the same in every pass are recorded and replayed
    bool overwrite = false;         // of report, dump and timeline
    std::optional<std::string> timeline_path;
    double op_timeout_s = 120;
    std::string
        answer;  // of --help, --version and --list: print it, end with status 0 and look at nothing else
};

/// Throws Error(usage) for what is not a command line of this program.
Options parse_options(int argc, const char* const* argv);

}  // namespace eps
