#include "config/run_config.hpp"

#include "base/error.hpp"
#include "base/json.hpp"
#include "base/nearest.hpp"
#include "config/case_config.hpp"
#include "config/common_keys.hpp"
#include "config/document.hpp"
#include "config/object_reader.hpp"
#include "config/workload_config.hpp"
#include "model/spec_json.hpp"

#include <algorithm>
#include <array>
#include <variant>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

namespace eps::config {
namespace {

const std::vector<std::string> kScopes{"model", "layer", "moe"};
const std::vector<std::string> kBackends{"cpu", "cuda", "sim"};
const std::vector<std::string> kValidateKinds{"auto", "reference", "spot"};

template <typename Enum>
Enum read_enum(ObjectReader& reader, const std::string& key, Enum fallback,
               const std::vector<std::string>& names) {
    const std::string name = reader.choice(key, names[static_cast<std::size_t>(fallback)], names);
    return static_cast<Enum>(std::find(names.begin(), names.end(), name) - names.begin());
}

std::string read_name(ObjectReader& reader) {
    std::string name = reader.text("name", "run");
    const bool fits_file_name = name.size() <= 100 && std::none_of(name.begin(), name.end(), [](char c) {
                                    return c == '/' || static_cast<unsigned char>(c) < 0x20;
                                });
    if (!fits_file_name)
        reader.refuse("name",
                      "a text of at most 100 bytes without / and control characters: it becomes a file name");
    return name;
}

void read_model(ObjectReader& config, RunConfig& run) {
    const std::string expected = "{\"preset\": NAME} or {\"checkpoint\": DIR}";
    if (!config.has("model")) config.refuse("model", expected);
    ObjectReader reader = config.object("model", {"preset", "checkpoint", "layers", "overrides"});
    if (reader.has("preset") == reader.has("checkpoint"))
        config.refuse("model", expected + ", one of the two");
    std::optional<std::int64_t> layers;
    if (reader.has("layers")) layers = reader.integer("layers", 1, 1);
    const Json overrides = reader.has("overrides") ? reader.at("overrides") : Json::object();
    if (!overrides.is_object()) reader.refuse("overrides", "an object of Hugging Face config keys");
    if (reader.has("checkpoint")) run.checkpoint_dir = reader.text("checkpoint", "");
    const std::string preset = run.checkpoint_dir ? "" : reader.text("preset", "");
    try {
        run.model = run.checkpoint_dir
                        ? model::load_checkpoint_spec(*run.checkpoint_dir, overrides.dump(), layers)
                        : model::load_preset(preset, overrides.dump(), layers);
    } catch (const Error& error) {
        // What is wrong in this document begins with its JSON pointer, what is wrong in the model's file with
        // that file.
        const std::string message = error.what();
        throw Error(error.status(),
                    message.starts_with("/") ? fmt::format("{}: {}", config.where(), message) : message);
    }
    reader.resolve("layers", run.model.num_layers);
    reader.resolve("overrides", overrides);
}

void read_scope(ObjectReader& reader, RunConfig& run) {
    run.scope = read_enum(reader, "scope", Scope::model, kScopes);
    if (run.scope == Scope::moe && run.model.first_moe_layer() < 0)
        reader.refuse_because("scope",
                              fmt::format("is \"moe\", but none of the {} layers of this model has experts",
                                          run.model.num_layers));
}

void read_backend(ObjectReader& reader, RunConfig& run) {
    run.backend = read_enum(reader, "backend", Backend::cpu, kBackends);
}

/// Other ranks than those that were started can only be modelled.
void read_ranks(ObjectReader& reader, std::int64_t world_size, RunConfig& run) {
    constexpr std::int64_t kMostRanks = 65536;
    run.num_ranks = world_size;
    if (!reader.is_set("ranks")) {
        reader.resolve("ranks", nullptr);
        return;
    }
    run.num_ranks = reader.integer("ranks", world_size, 1, kMostRanks);
    if (run.backend != Backend::sim && run.num_ranks != world_size)
        reader.refuse_because("ranks",
                              fmt::format("is {}, but {} were started; expected null, or the backend "
                                          "\"sim\", which models any number",
                                          run.num_ranks, world_size));
}

void read_calibration(ObjectReader& reader, RunConfig& run) {
    if (reader.is_set("calibration")) {
        run.calibration = reader.text("calibration", "");
    } else {
        reader.resolve("calibration", nullptr);
    }
}

/// On virtual clocks nothing is computed: no gate decides, no row can be dumped.
void refuse_what_sim_lacks(const ObjectReader& reader, const RunConfig& run) {
    if (run.backend != Backend::sim) return;
    if (std::holds_alternative<GateRouting>(run.workload.routing) && run.model.first_moe_layer() >= 0)
        refuse_at(
            reader.where(), "/workload/routing/kind",
            "is \"gate\", but the backend \"sim\" runs no gate; expected \"uniform\", \"zipf\", \"hot\" "
            "or \"file\"");
    if (run.dump_path)
        reader.refuse_because("dump", "is not for the backend \"sim\", which computes no rows");
}

Measure read_measure(ObjectReader& config) {
    ObjectReader reader = config.object(
        "measure", {"warmup", "min_repetitions", "max_repetitions", "max_seconds", "relative_ci"});
    constexpr std::int64_t kMostRepetitions = 1'000'000;
    Measure measure;
    measure.warmup = reader.integer("warmup", measure.warmup, 0, kMostRepetitions);
    measure.min_repetitions = reader.integer("min_repetitions", measure.min_repetitions, 0, kMostRepetitions);
    measure.max_repetitions = reader.integer("max_repetitions", measure.max_repetitions, 0, kMostRepetitions);
    measure.max_seconds = reader.number("max_seconds", measure.max_seconds, 0);
    measure.relative_ci = reader.number("relative_ci", measure.relative_ci, 0);
    return measure;
}

std::string replaced(std::string text, const std::string& placeholder, const std::string& value) {
    for (std::size_t at = 0; (at = text.find(placeholder, at)) != std::string::npos; at += value.size())
        text.replace(at, placeholder.size(), value);
    return text;
}

void read_outputs(ObjectReader& reader, const std::string& utc, RunConfig& run) {
    const std::string report = reader.text("report", "results/local/{name}-{utc}.json");
    run.report_path = replaced(replaced(report, "{utc}", utc), "{name}", run.name);
    if (reader.is_set("dump")) {
        run.dump_path = reader.text("dump", "");
        if (*run.dump_path == run.report_path) reader.refuse("dump", "another path than that of the report");
    } else {
        reader.resolve("dump", nullptr);
    }
}

}  // namespace

std::string name_of(Backend backend) {
    return kBackends[static_cast<std::size_t>(backend)];
}

std::string name_of(Scope scope) {
    return kScopes[static_cast<std::size_t>(scope)];
}

RunConfig make_run_config(const std::string& config_text, const std::string& where,
                          const std::vector<std::string>& sets, std::int64_t world_size,
                          const std::string& utc) {
    const Json document = read_document(config_text, where, sets);
    Json resolved;
    ObjectReader reader(document, where, "",
                        {"name", "model", "scope", "backend", "dtype", "link", "ranks", "calibration",
                         "workload", "cases", "measure", "validate", "report", "dump"},
                        resolved);
    RunConfig run;
    run.name = read_name(reader);
    read_model(reader, run);
    read_scope(reader, run);
    read_backend(reader, run);
    const DType dtype = read_dtype(reader, run.backend == Backend::cpu ? DType::f32 : DType::bf16);
    const std::optional<Link> link = read_link(reader, std::nullopt);
    read_ranks(reader, world_size, run);
    read_calibration(reader, run);
    run.workload = read_workload(reader, run.scope, run.model);
    if (!reader.has("cases")) reader.refuse("cases", "a list of cases, for example [{\"strategy\": \"ep\"}]");
    Json cases;
    run.cases = read_cases(reader.at("cases"), where,
                           {run.num_ranks, run.scope, dtype, link, run.backend == Backend::cuda}, cases);
    reader.resolve("cases", cases);
    run.measure = read_measure(reader);
    ObjectReader validate = reader.object("validate", {"kind"});
    run.validate = read_enum(validate, "kind", ValidateKind::automatic, kValidateKinds);
    read_outputs(reader, utc, run);
    refuse_what_sim_lacks(reader, run);
    run.resolved = resolved.dump(2);
    return run;
}

}  // namespace eps::config
