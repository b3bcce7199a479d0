// The run as asked for: config.json overlaid by flags, checked and complete (design section 10).
#pragma once

#include "base/dtype.hpp"
#include "base/link.hpp"
#include "model/spec.hpp"
#include "placement/placement.hpp"
#include "schedule/schedule.hpp"
#include "workload/routing.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace eps::config {

using schedule::Scope;
/// "model", "layer" or "moe"
std::string name_of(Scope scope);

enum class Backend : std::uint8_t { cpu, cuda, sim };
std::string name_of(Backend backend);

enum class ValidateKind : std::uint8_t { automatic, reference, spot };

using workload::FileRouting;
using workload::GateRouting;
using workload::HotRouting;
using workload::Routing;
using workload::UniformRouting;
using workload::ZipfRouting;

struct Workload {
    std::vector<std::int64_t> sequence_lengths;  // one per sequence of the whole world's batch
    std::string tokens = "random";               // or a safetensors file holding input_ids
    Routing routing;
    std::uint64_t seed = 1;
};

/// One case after the cross product: a named pair of placement and schedule.
struct Case {
    std::string name;      // stable: from its sorted parameters
    std::string params;    // JSON object text: the case's keys verbatim (flat), for the report
    std::string strategy;  // "ep", ..., or "placement"
    placement::Placement placement;
    schedule::Schedule schedule;
    DType dtype = DType::f32;
    std::optional<Link> link;
};

struct Measure {
    std::int64_t warmup = 2;
    std::int64_t min_repetitions = 6;
    std::int64_t max_repetitions = 100;
    double max_seconds = 10;
    double relative_ci = 0.02;
};

struct RunConfig {
    std::string name = "run";
    model::ModelSpec model;
    std::optional<std::string> checkpoint_dir;  // empty: synthetic weights
    Scope scope = Scope::model;
    Backend backend = Backend::cpu;
    std::int64_t num_ranks = 1;  // started, or with the backend sim modelled
    Workload workload;
    std::optional<std::string> calibration;  // a shipped one's name, or a path; empty: this machine's own
    std::vector<Case> cases;
    Measure measure;
    ValidateKind validate = ValidateKind::automatic;
    std::string report_path;  // {name} and {utc} already replaced
    std::optional<std::string> dump_path;
    std::string resolved;  // the whole config as JSON text with every default written out, for the report
};

/// `config_text` is the file's text (where: its path, for messages), `sets` are "/json/pointer=value"
/// overlays applied in order; `world_size` the number of ranks started; `utc` replaces {utc}. Throws
/// Error(usage), or Error(data) for a broken checkpoint config.
RunConfig make_run_config(const std::string& config_text, const std::string& where,
                          const std::vector<std::string>& sets, std::int64_t world_size,
                          const std::string& utc);

}  // namespace eps::config
