#include "report/table.hpp"

#include "report/grid.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <set>
#include <string_view>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace eps::report {
namespace {

using Json = nlohmann::ordered_json;

// The order of the config contract; other keys follow in the order met.
constexpr std::array<std::string_view, 14> kKeyOrder = {
    "strategy", "base",   "placement", "chunks",    "gemm",     "dedup", "combine",
    "overlap",  "oracle", "transport", "comm_ctas", "gemm_sms", "dtype", "link"};

// {"pp": 1, "attention": {"tp": 2}} as "tp=2": sizes of one say nothing.
void append_leaves(std::string& text, const Json& object) {
    for (const auto& [key, value] : object.items()) {
        if (value.is_object()) {
            append_leaves(text, value);
        } else if (value != 1) {
            text += (text.empty() ? "" : ",") + key + "=" + value.dump();
        }
    }
}

std::string cell_text(const Json& value) {
    if (value.is_string()) return value.get<std::string>();
    if (!value.is_object()) return value.is_null() ? "none" : value.dump();
    std::string text;
    append_leaves(text, value);
    return text.empty() ? "1" : text;
}

// null, or {"gb_per_s": 20, "latency_us": 5} as "20 GB/s 5 us".
std::string link_text(const std::string& link) {
    const Json value = Json::parse(link);
    if (!value.is_object()) return cell_text(value);
    return fmt::format("{} GB/s {} us", value.value("gb_per_s", kUnknown),
                       value.value("latency_us", kUnknown));
}

// The case's parameters as the table shows them: what "auto" came to beside it, dtype and link as they took
// effect.
Json shown_params(const Result& result) {
    Json params = Json::parse(result.params);
    const Json chosen = Json::parse(result.chosen);
    Json shown = Json::object();
    for (const auto& [key, value] : params.items()) shown[key] = cell_text(value);
    for (const auto& [key, value] : chosen.items()) shown[key] = "auto:" + cell_text(value);
    shown["dtype"] = result.dtype;
    shown["link"] = link_text(result.link);
    if (!shown.contains("strategy")) shown["strategy"] = "placement";
    return shown;
}

std::vector<std::string> ordered_keys(const std::vector<Json>& rows) {
    std::vector<std::string> keys(kKeyOrder.begin(), kKeyOrder.end());
    for (const Json& row : rows)
        for (const auto& [key, value] : row.items())
            if (std::find(keys.begin(), keys.end(), key) == keys.end()) keys.push_back(key);
    return keys;
}

// Cases that do not use a key do not make it vary. A free placement always says what it is.
std::vector<Column> param_columns(const std::vector<Result>& results) {
    std::vector<Json> rows;
    for (const Result& result : results) rows.push_back(shown_params(result));
    std::vector<Column> columns;
    for (const std::string& key : ordered_keys(rows)) {
        Column column{key, false, {}};
        for (const Json& row : rows) column.cells.push_back(row.value(key, ""));
        std::set<std::string> distinct(column.cells.begin(), column.cells.end());
        distinct.erase("");
        const bool always = key == "strategy" || (key == "placement" && !distinct.empty());
        if (always || distinct.size() > 1) columns.push_back(std::move(column));
    }
    return columns;
}

std::string interval_text(const Metric* rate) {
    if (rate == nullptr || rate->samples.empty()) return "-";
    if (rate->ci_low && rate->ci_high)
        return fmt::format("[{}, {}]", rate_text(*rate->ci_low), rate_text(*rate->ci_high));
    return fmt::format("{}..{}", rate_text(rate->min), rate_text(rate->max));
}

std::string speed_text(const std::vector<Result>& results, const Result& result) {
    const auto speedup = speedup_of(results, result);
    return speedup ? fmt::format("{:.2f}x", speedup->value) : "-";
}

std::string exposed_text(const Result& result) {
    const double hidden = result.communication.hidden();
    return std::isfinite(hidden) ? fmt::format("{:.0f} %", 100 * (1 - hidden)) : "-";
}

bool is_modelled(const Result& result) {
    return std::find(result.flags.begin(), result.flags.end(), kModelled) != result.flags.end();
}

std::string verdict_text(const Result& result) {
    if (!result.valid) return "INVALID";
    if (is_modelled(result)) return kModelled;
    return std::find(result.flags.begin(), result.flags.end(), kNoisy) != result.flags.end() ? kNoisy
                                                                                             : "VALID";
}

std::vector<Column> columns_of(const std::vector<Result>& results) {
    std::vector<Column> columns = param_columns(results);
    Column rate{"tokens/s", true, {}}, interval{"interval", false, {}}, speed{"speed", true, {}};
    Column exposed{"exposed", true, {}}, verdict{"verdict", false, {}};
    for (const Result& result : results) {
        const Metric* metric = find_metric(result, "tokens_per_second");
        rate.cells.push_back(metric == nullptr ? "-" : rate_text(metric->median));
        interval.cells.push_back(interval_text(metric));
        speed.cells.push_back(speed_text(results, result));
        exposed.cells.push_back(exposed_text(result));
        verdict.cells.push_back(verdict_text(result));
    }
    for (Column* column : {&rate, &interval, &speed, &exposed, &verdict})
        columns.push_back(std::move(*column));
    return columns;
}

template <class T>
bool all_same(const std::vector<Result>& results, T Result::*field) {
    return std::all_of(results.begin(), results.end(),
                       [&](const Result& result) { return result.*field == results.front().*field; });
}

// {"preset": "deepseek-v2-lite", "layers": 4} as "deepseek-v2-lite 4 layers"; a checkpoint by its folder's
// name.
std::string model_text(const Json& model) {
    std::string text = model.value("preset", Json()).is_string() ? model["preset"].get<std::string>() : "";
    if (text.empty() && model.value("checkpoint", Json()).is_string())
        text = (std::filesystem::path(model["checkpoint"].get<std::string>()) / "").parent_path().filename();
    if (model.value("layers", Json()).is_number()) text += fmt::format(" {} layers", model["layers"].dump());
    return text;
}

std::string count_of(std::size_t count, const char* thing) {
    return fmt::format("{} {}{}", count, thing, count == 1 ? "" : "s");
}

std::string ranks_text(const std::vector<RankPlace>& ranks) {
    const std::int64_t threads = ranks.front().threads;
    const bool same = std::all_of(ranks.begin(), ranks.end(),
                                  [&](const RankPlace& rank) { return rank.threads == threads; });
    std::string text = count_of(ranks.size(), "rank");
    if (same) text += fmt::format(" x {} thread{}", threads, threads == 1 ? "" : "s");
    return text;
}

// What holds for every case, in one line.
std::string title_of(const Report& report) {
    const Json config = Json::parse(report.run.config);
    std::vector<std::string> parts;
    if (config.contains("model") && config["model"].is_object()) parts.push_back(model_text(config["model"]));
    if (config.contains("scope")) parts.push_back("scope " + cell_text(config["scope"]));
    if (config.contains("backend")) parts.push_back(cell_text(config["backend"]));
    const auto& results = report.results;
    if (!results.empty() && all_same(results, &Result::dtype)) parts.push_back(results.front().dtype);
    if (!results.empty() && all_same(results, &Result::link) && results.front().link != "null")
        parts.push_back("link " + link_text(results.front().link));
    if (!results.empty() && all_same(results, &Result::tokens))
        parts.push_back(fmt::format("{} tokens", results.front().tokens));
    if (!results.empty() && is_modelled(results.front()))
        parts.push_back(fmt::format("{}, modelled", count_of(results.front().per_rank.size(), "rank")));
    else if (!report.environment.ranks.empty())
        parts.push_back(ranks_text(report.environment.ranks));
    const std::string name = config.contains("name") ? cell_text(config["name"]) : "run";
    return fmt::format("{}: {}\n", name, fmt::join(parts, ", "));
}

struct Remark {
    std::string text;
    std::vector<std::string> cases;
};

void add_remark(std::vector<Remark>& remarks, const std::string& text, const std::string& case_name) {
    const auto known = std::find_if(remarks.begin(), remarks.end(),
                                    [&](const Remark& remark) { return remark.text == text; });
    if (known != remarks.end()) {
        known->cases.push_back(case_name);
    } else {
        remarks.push_back({text, {case_name}});
    }
}

// Reasons first, then flags, then notes; what several cases share is said once.
std::string remarks_of(const std::vector<Result>& results) {
    std::vector<Remark> remarks;
    for (const Result& result : results)
        for (const std::string& reason : result.invalid_reasons)
            add_remark(remarks, "INVALID: " + reason, result.name);
    for (const Result& result : results)
        for (const std::string& flag : result.flags)
            if (flag != kNoisy && flag != kModelled) add_remark(remarks, flag, result.name);
    for (const Result& result : results)
        for (const std::string& note : result.notes) add_remark(remarks, note, result.name);
    std::string text;
    for (const Remark& remark : remarks) {
        const bool everywhere = remark.cases.size() == results.size() && results.size() > 1;
        text +=
            fmt::format("{}: {}\n", everywhere ? "all cases" : fmt::to_string(fmt::join(remark.cases, "; ")),
                        remark.text);
    }
    return text;
}

}  // namespace

std::string to_table(const Report& report) {
    std::string text = title_of(report);
    if (report.results.empty()) return text + "no case finished\n";
    text += "\n" + to_grid(columns_of(report.results)) + "\n";
    text +=
        "interval: of the median at 95 %, or min..max with fewer than 6 samples\n"
        "speed: against the first case of the same dtype and link\n"
        "exposed: share of exchange time while compute idles\n";
    if (!std::all_of(report.results.begin(), report.results.end(), is_modelled))
        text += "NOISY: valid, but the interval is wider than asked for\n";
    if (std::any_of(report.results.begin(), report.results.end(), is_modelled))
        text += "MODELLED: nothing was run; times come from a calibration\n";
    text += remarks_of(report.results);
    if (report.run.interrupted) text += "interrupted: cases are missing\n";
    return text;
}

}  // namespace eps::report
