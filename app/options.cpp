#include "app/options.hpp"

#include "app/list.hpp"
#include "base/error.hpp"
#include "base/shipped.hpp"
#include "eps_version.hpp"

#include <cmath>
#include <utility>

#include <CLI/CLI.hpp>
#include <fmt/core.h>
#include <nlohmann/json.hpp>

namespace eps {
namespace {

using nlohmann::json;

constexpr const char* kAbout =
    "Measures MoE prefill on this machine: how many prompt tokens per second each way of placing and "
    "scheduling a "
    "model reaches.\nStart it with mpirun, for example: mpirun -n 4 eps-bench --config "
    "configs/quickstart.json";

/// How the value of a flag becomes JSON.
enum class FlagValue {
    text,        // always a text
    as_set,      // JSON or text, as with --set
    list,        // JSON; with commas a list
    preset,      // {"preset": TEXT}
    checkpoint,  // {"checkpoint": TEXT}
    strategies,  // a list of one case for each name
};

struct Flag {
    const char* name;
    const char* pointer;
    FlagValue value;
    const char* about;
};

// The keys that are changed most; --set reaches all others.
constexpr Flag kFlags[] = {
    {"--name", "/name", FlagValue::text, "name of the run"},
    {"--preset", "/model", FlagValue::preset, "model: a preset (in place of the file's model)"},
    {"--checkpoint", "/model", FlagValue::checkpoint,
     "model: a checkpoint's folder (in place of the file's model)"},
    {"--layers", "/model/layers", FlagValue::as_set, "build the first N layers"},
    {"--scope", "/scope", FlagValue::text, "model, layer or moe"},
    {"--backend", "/backend", FlagValue::text, "cpu, cuda (GPUs), or sim: modelled"},
    {"--dtype", "/dtype", FlagValue::text, "f32 or bf16"},
    {"--calibration", "/calibration", FlagValue::text,
     "times that auto decides by and the backend sim models with: a shipped name, or a path"},
    {"--batch", "/workload/batch", FlagValue::as_set, "sequences of the whole batch"},
    {"--sequence-length", "/workload/sequence_length", FlagValue::list,
     "tokens per sequence, or one number per sequence: 128,64"},
    {"--tokens", "/workload/tokens", FlagValue::text, "random, or a safetensors file with input_ids"},
    {"--seed", "/workload/seed", FlagValue::as_set, "seed of weights, tokens and inputs"},
    {"--strategy,--strategies", "/cases", FlagValue::strategies,
     "strategies in place of the file's cases: ep,eps"},
    {"--max-seconds", "/measure/max_seconds", FlagValue::as_set, "time cap of the timed passes of a case"},
    {"--report", "/report", FlagValue::text, "path of the report"},
    {"--dump", "/dump", FlagValue::text, "path of a safetensors file with all hidden states"},
};

std::string value_of(const Flag& flag, const std::string& given) {
    const bool is_list = given.find(',') != std::string::npos && !given.starts_with('[');
    switch (flag.value) {
        case FlagValue::text:
            return json(given).dump();
        case FlagValue::as_set:
            return given;
        case FlagValue::list:
            return is_list ? '[' + given + ']' : given;
        case FlagValue::preset:
            return json{{"preset", given}}.dump();
        case FlagValue::checkpoint:
            return json{{"checkpoint", given}}.dump();
        case FlagValue::strategies:
            return json{{{"strategy", CLI::detail::split(given, ',')}}}.dump();
    }
    throw Error(Exit::internal, "unknown kind of flag");
}

std::string version_text() {
    return fmt::format("eps-bench {} ({}{}, {})\n", kVersion, kGitSha, kGitDirty ? " with changes" : "",
                       kBuildType);
}

// Of a run and of a calibration.
void add_shared_switches(CLI::App& app, Options& options) {
    app.add_option(
           "--set", options.sets,
           "sets any key of the config (repeatable), e.g. /workload/batch=16; wins over the other flags")
        ->type_name("/POINTER=VALUE")
        ->allow_extra_args(false);
    app.add_flag("--share-devices", options.share_devices, "start more ranks than there are GPUs")->group("");
    app.add_option("--op-timeout", options.op_timeout_s,
                   "end the run when an op makes no progress for so long (120)")
        ->type_name("SECONDS");
}

void add_switches(CLI::App& app, Options& options) {
    app.add_option("--config", options.config_path, "the run, a JSON file")->type_name("FILE");
    add_shared_switches(app, options);
    app.add_flag("--dry-run", options.dry_run, "print placement, memory, bytes and FLOPs, and run nothing");
    app.add_flag("--plan", options.plan, "print the plan of a pass");
    app.add_option("--timeline", options.timeline_path, "write a trace for Perfetto")->type_name("FILE");
    app.add_flag("--list-devices", options.list_devices, "print the GPUs of this machine");
    app.add_flag_callback(
           "--no-graphs", [&options] { options.graphs = false; }, "on GPUs: enqueue every op by itself")
        ->group("");
    app.add_option("--load-margin", options.load_margin,
                   "on GPUs: room for routed rows over those expected of an even load (1.25)")
        ->type_name("FACTOR");
    app.add_flag("--overwrite", options.overwrite, "replace existing reports, dumps and timelines");
}

/// What the flags set, in the order of the table.
std::vector<std::string> sets_of_flags(const std::vector<std::optional<std::string>>& given) {
    std::vector<std::string> sets;
    for (std::size_t i = 0; i < given.size(); ++i) {
        if (!given[i]) continue;
        try {
            sets.push_back(fmt::format("{}={}", kFlags[i].pointer, value_of(kFlags[i], *given[i])));
        } catch (const json::exception&) {
            throw Error(Exit::usage, fmt::format("{}: its value is not UTF-8", kFlags[i].name));
        }
    }
    return sets;
}

/// Flags of a run in front of a subcommand would be read and forgotten.
void refuse_flags_before_subcommand(const CLI::App& app) {
    for (const CLI::App* command : app.get_subcommands())
        for (const CLI::Option* option : app.get_options())
            if (option->count() > 0)
                throw Error(Exit::usage, fmt::format("{} belongs to a run, not to {} (see --help)",
                                                     option->get_name(), command->get_name()));
}

constexpr const char* kAboutCalibrate =
    "Measures on this machine, on as many ranks as mpirun starts, everything that a config's cases take time "
    "for, and\nkeeps it for runs to come (in $XDG_CACHE_HOME/eps-bench or ~/.cache/eps-bench). What is known "
    "is not measured again.";

using GivenFlags = std::vector<std::optional<std::string>>;

void add_keys(CLI::App& app, GivenFlags& given) {
    for (std::size_t i = 0; i < given.size(); ++i)
        app.add_option(kFlags[i].name, given[i], kFlags[i].about)
            ->type_name("VALUE")
            ->group("Keys of the config");
}

CLI::App* add_calibrate(CLI::App& app, Options& options, GivenFlags& given) {
    CLI::App* command = app.add_subcommand("calibrate", kAboutCalibrate);
    command->add_option("--config", options.config_path, "the run to measure for (configs/quickstart.json)")
        ->type_name("FILE");
    add_shared_switches(*command, options);
    add_keys(*command, given);
    return command;
}

void check(const Options& options) {
    if (options.config_path.empty())
        throw Error(
            Exit::usage,
            "--config FILE is missing, for example: mpirun -n 4 eps-bench --config configs/quickstart.json");
    if (!(options.op_timeout_s > 0 && std::isfinite(options.op_timeout_s)))
        throw Error(Exit::usage, fmt::format("--op-timeout is {}, expected a number of seconds above 0",
                                             options.op_timeout_s));
    if (!(options.load_margin >= 1 && std::isfinite(options.load_margin)))
        throw Error(Exit::usage,
                    fmt::format("--load-margin is {}, expected a factor of at least 1", options.load_margin));
    if (options.timeline_path && options.timeline_path->empty())
        throw Error(Exit::usage, "--timeline is empty, expected a path, for example run.trace.json");
}

}  // namespace

Options parse_options(int argc, const char* const* argv) {
    Options options;
    CLI::App app(kAbout, "eps-bench");
    bool version = false, list = false;
    add_switches(app, options);
    GivenFlags given(std::size(kFlags));
    add_keys(app, given);
    app.add_flag("--list", list, "print strategies, presets and scopes");
    app.add_flag("--version", version, "print the version");
    const CompareCommand compare(app);
    const CLI::App* const calibrate = add_calibrate(app, options, given);
    try {
        app.parse(argc, argv);
    } catch (const CLI::CallForHelp&) {
        options.answer = app.help();
        return options;
    } catch (const CLI::ParseError& error) {
        throw Error(Exit::usage, fmt::format("{} (see --help)", error.what()));
    }
    refuse_flags_before_subcommand(app);
    options.compare = compare.read();
    if (options.compare) return options;
    options.calibrate = calibrate->parsed();
    if (options.calibrate) {
        if (options.config_path.empty()) options.config_path = find_shipped("configs") + "/quickstart.json";
    } else {
        if (options.list_devices) return options;
        if (version || list) {
            options.answer = version ? version_text() : list_text();
            return options;
        }
    }
    check(options);
    std::vector<std::string> sets = sets_of_flags(given);
    sets.insert(sets.end(), options.sets.begin(), options.sets.end());
    options.sets = std::move(sets);
    return options;
}

}  // namespace eps
