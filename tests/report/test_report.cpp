#include "base/error.hpp"
#include "report/json_text.hpp"
#include "report/report.hpp"
#include "tests/catch.hpp"
#include "tests/report/sample_report.hpp"

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <limits>
#include <string>

#include <nlohmann/json.hpp>

using namespace eps::report;

namespace {

// Validated against the schema by tests/cli/test_report_schema.py. To renew it, run with EPS_RENEW_GOLDEN=1
// and look.
const std::string kGolden = EPS_SOURCE_DIR "/tests/report/data/sample_report.json";

nlohmann::json sample_document() {
    return nlohmann::json::parse(to_json(sample_report()));
}

}  // namespace

TEST_CASE("the document of a report with every field is the golden one") {
    const std::string text = to_json(sample_report());
    if (std::getenv("EPS_RENEW_GOLDEN") != nullptr) std::ofstream(kGolden) << text;
    std::ifstream file(kGolden);
    REQUIRE(text == std::string(std::istreambuf_iterator<char>(file), {}));
}

TEST_CASE("numbers that are not finite are null") {
    const auto results = sample_document()["results"];
    REQUIRE(results[3]["metrics"]["tokens_per_second"]["value"].is_null());
    REQUIRE(results[3]["metrics"]["tokens_per_second"]["n"] == 0);
    REQUIRE(results[3]["checks"][1]["max_error"].is_null());
    REQUIRE(results[4]["communication"]["hidden"].is_null());
}

TEST_CASE("numbers round-trip") {
    Report report = sample_report();
    const double awkward = 0.1 + 0.2;
    report.results[0].metrics[0].samples = {awkward, 1e300, 5e-324, 123456789012345678.0};
    report.results[0].model.flops = std::nextafter(1e18, 2e18);
    const auto result = nlohmann::json::parse(to_json(report))["results"][0];
    REQUIRE(result["metrics"]["tokens_per_second"]["samples"].get<std::vector<double>>() ==
            report.results[0].metrics[0].samples);
    REQUIRE(result["model"]["flops"].get<double>() == report.results[0].model.flops);
}

TEST_CASE("value is the median, n the number of samples") {
    const auto metric = sample_document()["results"][1]["metrics"]["tokens_per_second"];
    REQUIRE(metric["value"] == metric["median"]);
    REQUIRE(metric["n"] == metric["samples"].size());
}

TEST_CASE("the decisive check is the first that failed, else the first of all") {
    Result result = sample_report().results[3];
    REQUIRE(decisive_check(result) == &result.checks[1]);
    result.checks[1].decisive = false;
    REQUIRE(decisive_check(result) == &result.checks[0]);
    result.checks[0].decisive = false;
    REQUIRE(decisive_check(result) == nullptr);
    const auto tp = sample_document()["results"][3];
    REQUIRE(tp["check"] == tp["checks"][1]);
    Report report = sample_report();
    report.results[0].checks.clear();
    REQUIRE(nlohmann::json::parse(to_json(report))["results"][0]["check"].is_null());
}

TEST_CASE("speed-up is against the first case with the same dtype and link, if both are valid") {
    std::vector<Result> results = sample_report().results;
    REQUIRE(speedup_of(results, results[0])->value == 1.0);
    REQUIRE(speedup_of(results, results[1])->value == Approx(2240.5 / 2000));
    REQUIRE(speedup_of(results, results[1])->against == "ep");
    REQUIRE_FALSE(speedup_of(results, results[3]).has_value());
    REQUIRE(speedup_of(results, results[4])->against == "placement bf16");
    results[0].valid = false;
    REQUIRE_FALSE(speedup_of(results, results[1]).has_value());
}

TEST_CASE("JSON inside that does not parse is an internal error") {
    Report report = sample_report();
    report.results[0].params = "{";
    REQUIRE_THROWS_AS(to_json(report), eps::Error);
}

TEST_CASE("lists of plain values and short values stay on one line, others are indented") {
    const auto samples = nlohmann::ordered_json(std::vector<double>(60, 2.5));
    nlohmann::ordered_json value;
    value["samples"] = samples;
    value["short"] = nlohmann::ordered_json::parse(R"([{"x": [], "y": {}}, {"z": {"u": "q\"\n"}}])");
    value["long"] = nlohmann::ordered_json::array({std::vector<int>{1}, std::string(100, 'x')});
    const std::string text = readable_text(value);
    std::string line = "[2.5";
    for (int i = 1; i < 60; ++i) line += ", 2.5";
    REQUIRE(text == "{\n  \"samples\": " + line + "],\n" +
                        R"(  "short": [{"x": [], "y": {}}, {"z": {"u": "q\"\n"}}],)" +
                        "\n  \"long\": [\n    [1],\n    \"" + std::string(100, 'x') + "\"\n  ]\n}");
    REQUIRE(nlohmann::ordered_json::parse(text) == value);
}
