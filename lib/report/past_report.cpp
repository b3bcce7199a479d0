#include "report/past_report.hpp"

#include "base/error.hpp"
#include "base/json.hpp"

#include <set>
#include <utility>

#include <fmt/core.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

namespace eps::report {
namespace {

using Sorted = nlohmann::json;  // keys sorted: equal values have equal texts

/// Members of one object of the document, as strictly as the verdicts need them.
class Member {
  public:
    Member(const Sorted& object, std::string path, std::string pointer)
        : object_(object), path_(std::move(path)), pointer_(std::move(pointer)) {
        if (!object_.is_object())
            throw Error(Exit::usage,
                        fmt::format("{}: {} is {}, expected an object", path_,
                                    pointer_.empty() ? "the document" : pointer_, shown(object_)));
    }

    const Sorted& get(const std::string& key, bool (Sorted::*is_type)() const noexcept,
                      const char* expected) const {
        const auto found = object_.find(key);
        if (found == object_.end()) refuse(key, "missing", expected);
        if (!((*found).*is_type)()) refuse(key, shown(*found), expected);
        return *found;
    }
    std::string text(const std::string& key) const {
        return get(key, &Sorted::is_string, "a text").get<std::string>();
    }
    bool boolean(const std::string& key) const {
        return get(key, &Sorted::is_boolean, "true or false").get<bool>();
    }
    Member object(const std::string& key) const {
        return {get(key, &Sorted::is_object, "an object"), path_, pointer_ + '/' + key};
    }
    double positive(const std::string& key) const {
        const Sorted& value = get(key, &Sorted::is_number, "a number above 0");
        if (!(value.get<double>() > 0)) refuse(key, shown(value), "a number above 0");
        return value.get<double>();
    }
    std::optional<double> positive_or_null(const std::string& key) const {
        const auto found = object_.find(key);
        if (found != object_.end() && found->is_null()) return std::nullopt;
        return positive(key);
    }
    const Sorted& json() const { return object_; }

    [[noreturn]] void refuse(const std::string& key, const std::string& found,
                             const std::string& expected) const {
        throw Error(Exit::usage,
                    fmt::format("{}: {}/{} is {}, expected {}", path_, pointer_, key, found, expected));
    }

  private:
    const Sorted& object_;
    std::string path_, pointer_;
};

/// What stands there, or null: for what is good to know.
Sorted at_or_null(const Sorted& document, const std::string& pointer) {
    const Sorted::json_pointer place(pointer);
    return document.contains(place) ? document.at(place) : Sorted();
}

std::string text_or_empty(const Sorted& document, const std::string& pointer) {
    const Sorted value = at_or_null(document, pointer);
    return value.is_string() ? value.get<std::string>() : "";
}

Values values_of(const Sorted& object) {
    Values values;
    for (const auto& [key, value] : object.items()) values[key] = value.dump();
    return values;
}

void check_schema(const Member& document, const std::string& path) {
    const Sorted schema = at_or_null(document.json(), "/schema");
    if (schema != "eps-bench/report")
        throw Error(Exit::usage, fmt::format("{}: is not a report of eps-bench: its /schema is {}, expected "
                                             "\"eps-bench/report\"",
                                             path, schema.is_null() ? "missing" : shown(schema)));
    const Sorted version = at_or_null(document.json(), "/schema_version");
    if (version != kSchemaVersion)
        document.refuse(
            "schema_version", version.is_null() ? "missing" : shown(version),
            fmt::format("{}, which this eps-bench reads: run the cases again with it", kSchemaVersion));
}

PastCase read_case(const Member& result, bool modelled) {
    PastCase read;
    read.name = result.text("name");
    read.params = values_of(result.get("params", &Sorted::is_object, "an object"));
    read.chosen = values_of(at_or_null(result.json(), "/chosen"));
    for (const char* key : {"dtype", "link"})
        if (result.json().contains(key)) read.params[key] = result.json()[key].dump();
    read.valid = result.boolean("valid");
    for (const Sorted& reason : at_or_null(result.json(), "/invalid_reasons"))
        if (reason.is_string()) read.invalid_reasons.push_back(reason.get<std::string>());
    const Sorted flops = at_or_null(result.json(), "/model/flops");
    if (flops.is_number()) read.flops = flops.get<double>();
    if (!read.valid) return read;  // its figures do not count
    const Member rate = result.object("metrics").object("tokens_per_second");
    read.median = rate.positive("median");
    read.ci_low = rate.positive_or_null("ci_low");
    read.ci_high = rate.positive_or_null("ci_high");
    if (read.ci_low.has_value() != read.ci_high.has_value() ||
        (read.ci_low && (*read.ci_low > read.median || *read.ci_high < read.median)))
        rate.refuse("ci_low", shown(rate.json().at("ci_low")),
                    "with ci_high an interval around the median, or both null");
    if (modelled && !read.ci_low) read.ci_low = read.ci_high = read.median;
    read.num_samples = static_cast<std::int64_t>(at_or_null(rate.json(), "/samples").size());
    return read;
}

/// As people read it; a list by its length.
std::string plain(const Sorted& value) {
    if (value.is_null()) return "none";
    if (value.is_array()) return std::to_string(value.size());
    return value.is_string() ? value.get<std::string>() : value.dump();
}

/// What the hosts or ranks say of `key`, each value once.
std::string distinct(const Sorted& list, const std::string& key) {
    std::set<std::string> texts;
    for (const Sorted& item : list) texts.insert(plain(at_or_null(item, '/' + key)));
    return fmt::to_string(fmt::join(texts, ", "));
}

Values conditions_of(const Sorted& document) {
    const Sorted hosts = at_or_null(document, "/environment/hosts");
    const Sorted ranks = at_or_null(document, "/environment/ranks");
    Values conditions = {{"host", distinct(hosts, "name")},
                         {"processor", distinct(hosts, "cpu_model")},
                         {"processors per host", distinct(hosts, "num_cpus")},
                         {"processors per rank", distinct(ranks, "cpus")},
                         {"ranks", plain(ranks)},
                         {"ranks modelled", plain(at_or_null(document, "/run/config/ranks"))},
                         {"threads per rank", distinct(ranks, "threads")},
                         {"device", distinct(ranks, "device")},
                         {"build", plain(at_or_null(document, "/tool/build/type"))},
                         {"compiler", plain(at_or_null(document, "/tool/build/compiler"))}};
    for (const char* library : {"mpi", "blas", "nccl", "cuda"})
        conditions[library] = plain(at_or_null(document, std::string("/environment/") + library));
    for (const char* key : {"backend", "dtype", "link", "calibration"})
        conditions[key] = plain(at_or_null(document, std::string("/run/config/") + key));
    return conditions;
}

Values work_of(const Sorted& config) {
    Values work;
    for (const char* key : {"model", "scope", "workload"}) {
        const Sorted part = at_or_null(config, std::string("/") + key);
        if (!part.is_structured()) {
            if (!part.is_null()) work[std::string("/") + key] = part.dump();
            continue;
        }
        const Sorted leaves = part.flatten();  // those of objects and lists without members are null
        for (const auto& [pointer, value] : leaves.items())
            if (!value.is_null()) work['/' + std::string(key) + pointer] = value.dump();
    }
    return work;
}

}  // namespace

PastReport read_past_report(const std::string& text, const std::string& path) {
    const Sorted json = parse_json_strict(text, path, Exit::usage);
    const Member document(json, path, "");
    check_schema(document, path);
    PastReport report;
    report.path = path;
    report.name = text_or_empty(json, "/run/config/name");
    report.run_id = text_or_empty(json, "/run/id");
    report.utc_start = text_or_empty(json, "/run/utc_start");
    report.version = text_or_empty(json, "/tool/version");
    report.git_sha = text_or_empty(json, "/tool/git_sha");
    report.git_dirty = at_or_null(json, "/tool/git_dirty") == true;
    const Sorted run = at_or_null(json, "/run");
    const bool has_no_end = run.contains("utc_end") && run["utc_end"].is_null();
    report.finished = !has_no_end && at_or_null(run, "/interrupted") != true;
    report.modelled = at_or_null(json, "/run/config/backend") == "sim";
    report.work = work_of(at_or_null(json, "/run/config"));
    report.conditions = conditions_of(json);
    report.variables = values_of(at_or_null(json, "/environment/env"));
    std::set<std::string> names;
    for (const Sorted& result : document.get("results", &Sorted::is_array, "a list of cases")) {
        const std::string pointer = fmt::format("/results/{}", report.cases.size());
        const Member member(result, path, pointer);
        report.cases.push_back(read_case(member, report.modelled));
        if (!names.insert(report.cases.back().name).second)
            member.refuse("name", shown(result["name"]), "every case once");
    }
    if (report.cases.empty())
        document.refuse("results", "empty", "at least one case: the run ended before its first case did");
    return report;
}

}  // namespace eps::report
