// The report: everything a run has to say, as plain data and as one JSON document (design section 11).
// configs/schema/report.schema.json describes each field of the document.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace eps::report {

inline constexpr int kSchemaVersion = 1;
inline constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();  // written as null

/// Flags that the table knows; others are written as they are.
inline constexpr const char* kNoisy = "NOISY";
inline constexpr const char* kModelled = "MODELLED";  // no pass was run: times come from a calibration

struct Build {
    std::string type;      // "Release"
    std::string compiler;  // name and version
};

struct Tool {
    std::string name = "eps-bench";
    std::string version;
    std::string git_sha;  // "unknown" outside a checkout
    bool git_dirty = false;
    Build build;
};

struct Run {
    std::string id;
    std::string utc_start;
    std::string utc_end;  // empty while the run goes on: null
    std::vector<std::string> argv;
    std::string config;         // the resolved config, JSON text
    std::string config_sha256;  // of that text
    bool interrupted = false;   // by a signal: cases are missing
};

struct Host {
    std::string name;
    std::string cpu_model;
    std::int64_t num_cpus = 0;      // hardware threads that are online
    std::int64_t memory_bytes = 0;  // what processes there may use
    friend bool operator==(const Host&, const Host&) = default;
};

struct RankPlace {
    std::int64_t rank = 0;
    std::string host;
    std::vector<std::int64_t> cpus;  // numbers of the hardware threads it may run on
    std::int64_t threads = 1;        // that compute
    std::optional<std::string> device;
};

/// What choices and predictions were made from.
struct CalibrationUsed {
    std::string path;  // empty: kept nowhere
    std::string hash;
    std::string about;
    std::int64_t num_measured = 0;  // tables that this run measured
};

struct Environment {
    std::vector<Host> hosts;
    std::vector<RankPlace> ranks;
    std::string mpi;   // library and version
    std::string blas;  // library, version, the kernels it chose
    std::optional<std::string> nccl;
    std::optional<std::string> cuda;
    std::optional<CalibrationUsed> calibration;
    std::map<std::string, std::string> env;  // rank 0's variables, of an allow-list
};

/// A measured quantity; `samples` in `unit`, in the order measured. Without samples the statistics are
/// kUnknown.
struct Metric {
    std::string name;  // "tokens_per_second"
    std::string unit;  // "tokens/s"
    bool higher_is_better = true;
    double median = kUnknown;
    double min = kUnknown;
    double max = kUnknown;
    std::optional<double> ci_low;  // of the median; empty where there are too few samples
    std::optional<double> ci_high;
    std::vector<double> samples;
};

/// One kind of op on one lane in one pass, mean over ranks.
struct Phase {
    std::string op;
    std::string lane;
    double busy_seconds = 0;
    double count = 0;                       // ops
    std::optional<double> exposed_seconds;  // exchange lanes: of these, with the compute lane idle
};

/// The exchange lanes in one pass, mean over ranks: busy at all, and busy while the compute lane is idle.
struct Communication {
    double busy_seconds = 0;
    double exposed_seconds = 0;

    /// 1 - exposed / busy; kUnknown where nothing is exchanged.
    double hidden() const { return busy_seconds > 0 ? 1 - exposed_seconds / busy_seconds : kUnknown; }
};

/// Chunks of an experts segment with GEMMs of one kind, on all ranks.
struct ChosenKind {
    std::string kind;
    std::int64_t num_chunks = 0;
    double least_rows = 0;  // per expert, mean of a chunk: the load it ran for
    double most_rows = 0;
};

/// How the experts of a layer were divided and computed, and how long that was expected to take.
struct ExpertChoice {
    std::int64_t layer = 0;
    std::int64_t micro_batch = 0;
    std::int64_t num_chunks = 1;
    std::vector<std::int64_t> experts_per_chunk;  // of rank 0
    std::vector<ChosenKind> kinds;
    double predicted_seconds = kUnknown;  // from known counts to the last row summed at home
    double measured_seconds = kUnknown;   // the same in the traced pass, the slowest rank
};

struct LaneTime {
    std::string lane;
    double busy_seconds = 0;
};

struct RankResult {
    std::int64_t rank = 0;
    std::int64_t tokens = 0;        // prompt tokens whose attention it computes
    std::int64_t routed_rows = 0;   // (token, expert) pairs its experts compute in one pass, all layers
    std::int64_t weight_bytes = 0;  // allocated for weights, packed ones included
    std::int64_t peak_bytes = 0;    // largest sum of all that was allocated
    std::vector<LaneTime> lanes;
    double exposed_seconds = 0;
};

/// How evenly routing loads the ranks and the experts, in (token, expert) pairs of one pass.
struct Load {
    double max_over_mean = kUnknown;  // over ranks
    std::vector<std::int64_t> rows_per_rank;
    std::int64_t expert_min_rows = 0;  // over (layer, expert)
    std::int64_t expert_max_rows = 0;
    double expert_max_over_mean = kUnknown;
};

/// The closed form of the work of one pass, all ranks together, and how near the machine comes to its limit.
struct ModelCost {
    double flops = kUnknown;
    double bytes = kUnknown;     // moved at least: weights once, every op's rows once
    double achieved = kUnknown;  // FLOP/s
    double limit = kUnknown;     // FLOP/s; unknown without a measured peak
    std::string limit_origin;    // where the limit comes from
};

struct Check {
    std::string kind;  // "reference", "spot", "agreement", "plan"
    bool passed = false;
    bool decisive = true;       // false: reported, but the verdict does not depend on it
    std::int64_t compared = 0;  // values; zero never passes
    double max_error = kUnknown;
    double bound = kUnknown;
    std::string origin;                // of the bound
    std::int64_t tokens = 0;           // (token, layer) pairs looked at
    std::int64_t near_ties = 0;        // of these, other experts accepted for the gate's small margin
    std::int64_t tokens_left_out = 0;  // of these, not compared because of a near-tie
    std::string reason;                // why it failed, what differs where; empty: passed
};

/// One case. `params`, `chosen` and `link` are JSON text.
struct Result {
    std::string name;
    std::string params = "{}";  // the case's keys, verbatim
    std::string chosen = "{}";  // what "auto" came to, by the same keys
    std::string dtype;
    std::string link = "null";
    std::int64_t tokens = 0;  // prompt tokens of one pass, all ranks
    bool valid = false;
    std::vector<std::string> invalid_reasons;
    std::vector<std::string> flags;  // upper-case words, such as kNoisy
    std::vector<std::string> notes;  // sentences for the reader
    std::vector<Metric> metrics;
    std::vector<Phase> phases;
    Communication communication;
    std::vector<RankResult> per_rank;
    Load load;
    ModelCost model;
    std::vector<ExpertChoice> expert_choices;  // by layer and micro-batch; empty where no rows travel
    std::vector<Check> checks;                 // strongest first
};

struct Report {
    Tool tool;
    Run run;
    Environment environment;
    std::vector<Result> results;
};

/// The metric of that name, or null.
const Metric* find_metric(const Result& result, const std::string& name);

/// The check the verdict rests on: the first decisive one that failed, else the first decisive one, or null.
const Check* decisive_check(const Result& result);

struct Speedup {
    double value = kUnknown;
    std::string against;  // the baseline's name
};

/// tokens_per_second against the first result with the same dtype and link; empty unless both are valid and
/// measured.
std::optional<Speedup> speedup_of(const std::vector<Result>& results, const Result& result);

/// The document, indented, ending in a newline. Numbers round-trip; text that is not UTF-8 is repaired.
/// Throws Error(internal) if a JSON text inside does not parse.
std::string to_json(const Report& report);

}  // namespace eps::report
