// What a comparison looks like: as a table, as Markdown and as JSON.
#include "report/compare.hpp"
#include "report/grid.hpp"
#include "report/json_text.hpp"

#include <array>
#include <cmath>
#include <utility>

#include <fmt/core.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

namespace eps::report {
namespace {

using Json = nlohmann::ordered_json;

std::string median_of(const std::optional<PastCase>& one) {
    return one ? rate_text(one->median) : "-";
}

std::string interval_of(const std::optional<PastCase>& one) {
    if (!one || !one->ci_low) return "-";
    return fmt::format("[{}, {}]", rate_text(*one->ci_low), rate_text(*one->ci_high));
}

std::string change_of(const ComparedCase& one) {
    const double change = one.change_percent();
    return std::isfinite(change) ? fmt::format("{:+.1f} %", change) : "-";
}

std::vector<Column> compared_columns(const Comparison& comparison) {
    Column name{"case", false, {}}, base{"base tokens/s", true, {}}, base_interval{"interval", false, {}};
    Column fresh{"new tokens/s", true, {}}, fresh_interval{"interval", false, {}};
    Column change{"change", true, {}}, verdict{"verdict", false, {}};
    for (const ComparedCase& one : comparison.cases) {
        name.cells.push_back(one.either().name);
        base.cells.push_back(median_of(one.base));
        base_interval.cells.push_back(interval_of(one.base));
        fresh.cells.push_back(median_of(one.fresh));
        fresh_interval.cells.push_back(interval_of(one.fresh));
        change.cells.push_back(change_of(one));
        verdict.cells.push_back(name_of(one.verdict));
    }
    return {name, base, base_interval, fresh, fresh_interval, change, verdict};
}

std::array<std::int64_t, kNumVerdicts> counts_of(const Comparison& comparison) {
    std::array<std::int64_t, kNumVerdicts> counts{};
    for (const ComparedCase& one : comparison.cases) ++counts.at(static_cast<std::size_t>(one.verdict));
    return counts;
}

/// "1 SLOWER, 3 SAME; regression: ep/dtype=f32"
std::string summary_of(const Comparison& comparison) {
    const auto counts = counts_of(comparison);
    std::vector<std::string> parts;
    for (std::size_t i = 0; i < counts.size(); ++i)
        if (counts.at(i) > 0)
            parts.push_back(fmt::format("{} {}", counts.at(i), name_of(static_cast<Verdict>(i))));
    const auto regressions = comparison.regressions();
    return fmt::format(
        "{}; {}", fmt::join(parts, ", "),
        regressions.empty() ? "no regression" : fmt::format("regression: {}", fmt::join(regressions, ", ")));
}

/// What the words mean, and what else is worth knowing, line by line.
std::vector<std::string> remarks_on(const Comparison& comparison) {
    std::vector<std::string> lines = {
        fmt::format("FASTER, SLOWER: 95 % intervals apart and medians more than {:g} % apart",
                    comparison.threshold_percent),
        fmt::format("SAME: medians within {:g} %; NOISY: neither", comparison.threshold_percent)};
    for (const ComparedCase& one : comparison.cases)
        for (const std::string& note : one.notes)
            lines.push_back(fmt::format("{}: {}", one.either().name, note));
    return lines;
}

/// "base.json (quickstart, 2026-01-31T23:59:58Z, 0123456 with changes, modelled)"
std::string title_of(const PastReport& report) {
    std::vector<std::string> parts;
    for (const std::string& part : {report.name, report.utc_start})
        if (!part.empty()) parts.push_back(part);
    if (!report.git_sha.empty())
        parts.push_back(report.git_sha.substr(0, 7) + (report.git_dirty ? " with changes" : ""));
    if (report.modelled) parts.emplace_back("modelled");
    return parts.empty() ? report.path : fmt::format("{} ({})", report.path, fmt::join(parts, ", "));
}

Json number_or_null(const std::optional<double>& value) {
    return value ? Json(*value) : Json(nullptr);
}

Json json_of(const PastReport& report) {
    return {{"path", report.path},           {"name", report.name},        {"run_id", report.run_id},
            {"utc_start", report.utc_start}, {"version", report.version},  {"git_sha", report.git_sha},
            {"git_dirty", report.git_dirty}, {"modelled", report.modelled}};
}

Json json_of(const std::optional<PastCase>& one) {
    if (!one) return nullptr;
    return {{"valid", one->valid},
            {"n", one->num_samples},
            {"median", one->median},
            {"ci_low", number_or_null(one->ci_low)},
            {"ci_high", number_or_null(one->ci_high)}};
}

Json json_of(const ComparedCase& one) {
    Json params = Json::object();
    for (const auto& [key, text] : one.either().params) params[key] = Json::parse(text);
    const double change = one.change_percent();
    return {{"name", one.either().name},
            {"params", params},
            {"verdict", name_of(one.verdict)},
            {"regression", one.regressed()},
            {"base", json_of(one.base)},
            {"new", json_of(one.fresh)},
            {"change", std::isfinite(change) ? Json{{"value", change}, {"unit", "%"}} : Json(nullptr)},
            {"notes", one.notes}};
}

}  // namespace

std::string to_table(const Comparison& comparison) {
    std::string text =
        fmt::format("base: {}\nnew:  {}\n", title_of(comparison.base), title_of(comparison.fresh));
    for (const std::string& warning : comparison.warnings) text += "warning: " + warning + "\n";
    text += "\n" + to_grid(compared_columns(comparison)) + "\n";
    for (const std::string& remark : remarks_on(comparison)) text += remark + "\n";
    return text + summary_of(comparison) + "\n";
}

std::string to_markdown(const Comparison& comparison) {
    std::string text =
        fmt::format("**{}**\n\n{}\n", summary_of(comparison), to_markdown_grid(compared_columns(comparison)));
    text += fmt::format("- base: {}\n- new: {}\n", title_of(comparison.base), title_of(comparison.fresh));
    for (const std::string& warning : comparison.warnings) text += "- warning: " + warning + "\n";
    for (const std::string& remark : remarks_on(comparison)) text += "- " + remark + "\n";
    return text;
}

std::string to_json(const Comparison& comparison) {
    Json counts = Json::object(), cases = Json::array();
    const auto counted = counts_of(comparison);
    for (std::size_t i = 0; i < counted.size(); ++i) counts[name_of(static_cast<Verdict>(i))] = counted.at(i);
    for (const ComparedCase& one : comparison.cases) cases.push_back(json_of(one));
    const Json document = {
        {"schema", "eps-bench/comparison"},
        {"schema_version", 1},
        {"metric", {{"name", "tokens_per_second"}, {"unit", "tokens/s"}, {"better", "higher"}}},
        {"threshold", {{"value", comparison.threshold_percent}, {"unit", "%"}}},
        {"base", json_of(comparison.base)},
        {"new", json_of(comparison.fresh)},
        {"warnings", comparison.warnings},
        {"counts", counts},
        {"regressions", comparison.regressions()},
        {"cases", cases}};
    return readable_text(document) + "\n";
}

}  // namespace eps::report
