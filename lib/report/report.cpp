#include "report/report.hpp"

#include "base/error.hpp"
#include "report/json_text.hpp"

#include <algorithm>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

namespace eps::report {
namespace {

using Json = nlohmann::ordered_json;

Json parsed(const std::string& text, const std::string& what) {
    Json value = Json::parse(text, nullptr, false);
    if (value.is_discarded())
        throw Error(Exit::internal, fmt::format("report: {} is not JSON: {}", what, text));
    return value;
}

template <class T>
Json or_null(const std::optional<T>& value) {
    return value ? Json(*value) : Json(nullptr);
}

template <class Items, class ToJson>
Json list_of(const Items& items, ToJson to_json_of) {
    Json list = Json::array();
    for (const auto& item : items) list.push_back(to_json_of(item));
    return list;
}

Json json_of(const Tool& tool) {
    return {{"name", tool.name},
            {"version", tool.version},
            {"git_sha", tool.git_sha},
            {"git_dirty", tool.git_dirty},
            {"build", {{"type", tool.build.type}, {"compiler", tool.build.compiler}}}};
}

Json json_of(const Run& run) {
    return {{"id", run.id},
            {"utc_start", run.utc_start},
            {"utc_end", run.utc_end.empty() ? Json(nullptr) : Json(run.utc_end)},
            {"argv", run.argv},
            {"config", parsed(run.config, "run.config")},
            {"config_sha256", run.config_sha256},
            {"interrupted", run.interrupted}};
}

Json json_of(const Host& host) {
    return {{"name", host.name},
            {"cpu_model", host.cpu_model},
            {"num_cpus", host.num_cpus},
            {"memory_bytes", host.memory_bytes}};
}

Json json_of(const RankPlace& place) {
    return {{"rank", place.rank},
            {"host", place.host},
            {"cpus", place.cpus},
            {"threads", place.threads},
            {"device", or_null(place.device)}};
}

Json json_of(const CalibrationUsed& used) {
    return {{"path", used.path.empty() ? Json(nullptr) : Json(used.path)},
            {"hash", used.hash},
            {"about", used.about},
            {"num_measured", used.num_measured}};
}

Json json_of(const ExpertChoice& choice) {
    return {{"layer", choice.layer},
            {"micro_batch", choice.micro_batch},
            {"chunks", choice.num_chunks},
            {"experts_per_chunk", choice.experts_per_chunk},
            {"gemm", list_of(choice.kinds,
                             [](const ChosenKind& kind) {
                                 return Json{{"kind", kind.kind},
                                             {"chunks", kind.num_chunks},
                                             {"least_rows_per_expert", kind.least_rows},
                                             {"most_rows_per_expert", kind.most_rows}};
                             })},
            {"predicted_seconds", choice.predicted_seconds},
            {"measured_seconds", choice.measured_seconds}};
}

Json json_of(const Environment& environment) {
    Json env = Json::object();
    for (const auto& [name, value] : environment.env) env[name] = value;
    return {{"hosts", list_of(environment.hosts, [](const Host& host) { return json_of(host); })},
            {"ranks", list_of(environment.ranks, [](const RankPlace& place) { return json_of(place); })},
            {"mpi", environment.mpi},
            {"blas", environment.blas},
            {"nccl", or_null(environment.nccl)},
            {"cuda", or_null(environment.cuda)},
            {"calibration", environment.calibration ? json_of(*environment.calibration) : Json(nullptr)},
            {"env", env}};
}

Json json_of(const Metric& metric) {
    return {{"value", metric.median},
            {"unit", metric.unit},
            {"better", metric.higher_is_better ? "higher" : "lower"},
            {"n", metric.samples.size()},
            {"median", metric.median},
            {"min", metric.min},
            {"max", metric.max},
            {"ci_low", or_null(metric.ci_low)},
            {"ci_high", or_null(metric.ci_high)},
            {"samples", metric.samples}};
}

Json json_of(const Phase& phase) {
    return {{"op", phase.op},
            {"lane", phase.lane},
            {"busy_seconds", phase.busy_seconds},
            {"count", phase.count},
            {"exposed_seconds", or_null(phase.exposed_seconds)}};
}

Json json_of(const RankResult& rank) {
    return {{"rank", rank.rank},
            {"tokens", rank.tokens},
            {"routed_rows", rank.routed_rows},
            {"weight_bytes", rank.weight_bytes},
            {"peak_bytes", rank.peak_bytes},
            {"lanes", list_of(rank.lanes,
                              [](const LaneTime& time) {
                                  return Json{{"lane", time.lane}, {"busy_seconds", time.busy_seconds}};
                              })},
            {"exposed_seconds", rank.exposed_seconds}};
}

Json json_of(const Load& load) {
    return {{"max_over_mean", load.max_over_mean},
            {"rows_per_rank", load.rows_per_rank},
            {"expert_min_rows", load.expert_min_rows},
            {"expert_max_rows", load.expert_max_rows},
            {"expert_max_over_mean", load.expert_max_over_mean}};
}

Json json_of(const ModelCost& model) {
    return {{"flops", model.flops}, {"bytes", model.bytes}, {"achieved", model.achieved},
            {"limit", model.limit}, {"unit", "FLOP/s"},     {"limit_origin", model.limit_origin}};
}

Json json_of(const Check& check) {
    return {{"kind", check.kind},
            {"passed", check.passed},
            {"decisive", check.decisive},
            {"compared", check.compared},
            {"max_error", check.max_error},
            {"bound", check.bound},
            {"origin", check.origin},
            {"tokens", check.tokens},
            {"near_ties", check.near_ties},
            {"tokens_left_out", check.tokens_left_out},
            {"reason", check.reason.empty() ? Json(nullptr) : Json(check.reason)}};
}

Json json_of(const std::optional<Speedup>& speedup) {
    if (!speedup) return nullptr;
    return {{"value", speedup->value}, {"unit", "x"}, {"against", speedup->against}};
}

Json json_of(const Result& result, const std::vector<Result>& results) {
    Json metrics = Json::object();
    for (const Metric& metric : result.metrics) metrics[metric.name] = json_of(metric);
    const Communication& communication = result.communication;
    const Check* check = decisive_check(result);
    return {{"name", result.name},
            {"params", parsed(result.params, "params")},
            {"chosen", parsed(result.chosen, "chosen")},
            {"dtype", result.dtype},
            {"link", parsed(result.link, "link")},
            {"tokens", result.tokens},
            {"valid", result.valid},
            {"invalid_reasons", result.invalid_reasons},
            {"flags", result.flags},
            {"notes", result.notes},
            {"metrics", metrics},
            {"speedup", json_of(speedup_of(results, result))},
            {"phases", list_of(result.phases, [](const Phase& phase) { return json_of(phase); })},
            {"communication",
             {{"busy_seconds", communication.busy_seconds},
              {"exposed_seconds", communication.exposed_seconds},
              {"hidden", communication.hidden()}}},
            {"per_rank", list_of(result.per_rank, [](const RankResult& rank) { return json_of(rank); })},
            {"load", json_of(result.load)},
            {"model", json_of(result.model)},
            {"expert_choices",
             list_of(result.expert_choices, [](const ExpertChoice& choice) { return json_of(choice); })},
            {"check", check == nullptr ? Json(nullptr) : json_of(*check)},
            {"checks", list_of(result.checks, [](const Check& each) { return json_of(each); })}};
}

}  // namespace

const Metric* find_metric(const Result& result, const std::string& name) {
    const auto found = std::find_if(result.metrics.begin(), result.metrics.end(),
                                    [&](const Metric& metric) { return metric.name == name; });
    return found == result.metrics.end() ? nullptr : &*found;
}

const Check* decisive_check(const Result& result) {
    const Check* first = nullptr;
    for (const Check& check : result.checks) {
        if (check.decisive && !check.passed) return &check;
        if (check.decisive && first == nullptr) first = &check;
    }
    return first;
}

std::optional<Speedup> speedup_of(const std::vector<Result>& results, const Result& result) {
    const auto baseline = std::find_if(results.begin(), results.end(), [&](const Result& other) {
        return other.dtype == result.dtype && other.link == result.link;
    });
    if (baseline == results.end() || !baseline->valid || !result.valid) return std::nullopt;
    const Metric* base = find_metric(*baseline, "tokens_per_second");
    const Metric* own = find_metric(result, "tokens_per_second");
    if (base == nullptr || own == nullptr || !(base->median > 0) || !(own->median > 0)) return std::nullopt;
    return Speedup{own->median / base->median, baseline->name};
}

std::string to_json(const Report& report) {
    const Json document = {{"schema", "eps-bench/report"},
                           {"schema_version", kSchemaVersion},
                           {"tool", json_of(report.tool)},
                           {"run", json_of(report.run)},
                           {"environment", json_of(report.environment)},
                           {"results", list_of(report.results, [&](const Result& result) {
                                return json_of(result, report.results);
                            })}};
    return readable_text(document) + "\n";
}

}  // namespace eps::report
