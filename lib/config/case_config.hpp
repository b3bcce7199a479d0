// The cases of a config: lists become a cross product, each case a placement and a schedule.
#pragma once

#include "config/object_reader.hpp"
#include "config/run_config.hpp"

namespace eps::config {

/// What the rest of the config says about every case.
struct CaseDefaults {
    std::int64_t world_size = 1;
    Scope scope = Scope::model;
    DType dtype = DType::f32;
    std::optional<Link> link = {};
    bool on_gpus = false;  // where there are transports, and multiprocessors to share
};

/// `list` is the value at /cases. A list under a key stands for one case per element; with several lists the
/// key that comes last in the object varies fastest. `resolved` becomes the list of all cases with every key
/// they use. Throws Error(usage) for anything that is not a case of this run, for a key that the strategy
/// does not use and for a case given twice.
std::vector<Case> read_cases(const Json& list, const std::string& where, const CaseDefaults& defaults,
                             Json& resolved);

}  // namespace eps::config
