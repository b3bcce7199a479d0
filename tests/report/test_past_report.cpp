#include "base/error.hpp"
#include "report/past_report.hpp"
#include "tests/catch.hpp"
#include "tests/report/sample_report.hpp"

#include <string>

#include <nlohmann/json.hpp>

using eps::report::PastCase;
using eps::report::PastReport;
using eps::report::read_past_report;
using eps::report::Values;
using Json = nlohmann::json;

namespace {

Json sample_json() {
    return Json::parse(eps::report::to_json(sample_report()));
}

PastReport read_json(const Json& json) {
    return read_past_report(json.dump(), "r.json");
}

void check_unreadable(const std::string& text, const std::string& part) {
    try {
        read_past_report(text, "r.json");
        FAIL_CHECK("read: " + text);
    } catch (const eps::Error& error) {
        CHECK(error.status() == eps::Exit::usage);
        CHECK_THAT(error.what(), contains_text("r.json: "));
        CHECK_THAT(error.what(), contains_text(part));
        CHECK(std::string(error.what()).find('\n') == std::string::npos);
    }
}

void check_unreadable_with(const std::string& pointer, const Json& value, const std::string& part) {
    Json json = sample_json();
    json[Json::json_pointer(pointer)] = value;
    check_unreadable(json.dump(), part);
}

void check_unreadable_without(const std::string& parent, const std::string& key, const std::string& part) {
    Json json = sample_json();
    json[Json::json_pointer(parent)].erase(key);
    check_unreadable(json.dump(), part);
}

}  // namespace

TEST_CASE("what was written is read back") {
    const PastReport report = read_past_report(eps::report::to_json(sample_report()), "r.json");
    CHECK(report.path == "r.json");
    CHECK(report.name == "sample");
    CHECK(report.run_id == "6f2c1f5e-0d0a-4d8e-9a51-0c3f5ad0c111");
    CHECK(report.utc_start == "2026-01-31T23:59:58Z");
    CHECK(report.git_dirty);
    CHECK_FALSE(report.finished);  // utc_end is null
    CHECK_FALSE(report.modelled);
    CHECK(report.work ==
          Values{{"/model/preset", "\"deepseek-v2-lite\""}, {"/model/layers", "4"}, {"/scope", "\"model\""}});
    CHECK(report.conditions.at("host") == "node1");
    CHECK(report.conditions.at("processor") == "AMD EPYC 9555");
    CHECK(report.conditions.at("processors per rank") == "2");
    CHECK(report.conditions.at("ranks") == "2");
    CHECK(report.conditions.at("threads per rank") == "1");
    CHECK(report.conditions.at("device") == "none");
    CHECK(report.conditions.at("backend") == "cpu");
    CHECK(report.variables == Values{{"OMP_WAIT_POLICY", "\"passive\""}});
    REQUIRE(report.cases.size() == 5);
}

TEST_CASE("cases that were measured, chosen, few, invalid and placed") {
    const PastReport report = read_past_report(eps::report::to_json(sample_report()), "r.json");
    const PastCase& ep = report.cases[0];
    CHECK(ep.params == Values{{"strategy", "\"ep\""}, {"dtype", "\"f32\""}, {"link", "null"}});
    CHECK(ep.valid);
    CHECK(ep.num_samples == 6);
    CHECK(ep.median == 2000);
    CHECK(ep.ci_low == 1990.0);
    CHECK(ep.ci_high == 2010.0);
    CHECK(ep.flops == 1.25e12);
    const PastCase& automatic = report.cases[2];
    CHECK(automatic.chosen == Values{{"chunks", "5"}});
    CHECK(automatic.num_samples == 2);
    CHECK_FALSE(automatic.ci_low.has_value());
    const PastCase& tp = report.cases[3];
    CHECK_FALSE(tp.valid);
    CHECK(tp.invalid_reasons == std::vector<std::string>{"reference: layer 3 differs by 0.5, bound 0.0001"});
    CHECK_FALSE(tp.ci_low.has_value());
    CHECK(report.cases[4].params.at("link") == R"({"gb_per_s":20,"latency_us":5})");
}

TEST_CASE("lists, empty objects and nulls of the work") {
    Json json = sample_json();
    json["run"]["config"]["workload"] = {
        {"sequence_length", {9, 8}}, {"batch", 2}, {"routing", {{"kind", "gate"}}}};
    json["run"]["config"]["model"]["overrides"] = Json::object();
    json["run"]["config"]["model"]["checkpoint"] = nullptr;
    json["run"]["utc_end"] = "2026-01-31T23:59:59Z";
    const PastReport report = read_json(json);
    CHECK(report.finished);
    CHECK(report.work == Values{{"/model/layers", "4"},
                                {"/model/preset", "\"deepseek-v2-lite\""},
                                {"/scope", "\"model\""},
                                {"/workload/batch", "2"},
                                {"/workload/routing/kind", "\"gate\""},
                                {"/workload/sequence_length/0", "9"},
                                {"/workload/sequence_length/1", "8"}});
    json["run"]["interrupted"] = true;
    CHECK_FALSE(read_json(json).finished);
}

TEST_CASE("a modelled case has no noise") {
    Json json = sample_json();
    json["run"]["config"]["backend"] = "sim";
    const PastReport report = read_json(json);
    CHECK(report.modelled);
    CHECK(report.cases[2].ci_low == report.cases[2].median);
    CHECK(report.cases[2].ci_high == report.cases[2].median);
    CHECK_FALSE(report.cases[3].ci_low.has_value());  // invalid
}

TEST_CASE("no verdict rests on the rest") {
    const Json bare = {
        {"schema", "eps-bench/report"},
        {"schema_version", 1},
        {"results",
         {{{"name", "ep"},
           {"params", {{"strategy", "ep"}}},
           {"valid", true},
           {"metrics",
            {{"tokens_per_second", {{"median", 5}, {"ci_low", nullptr}, {"ci_high", nullptr}}}}}}}}};
    const PastReport report = read_json(bare);
    CHECK(report.finished);
    CHECK(report.cases.at(0).median == 5);
    CHECK(report.conditions.at("host").empty());
}

TEST_CASE("what is no report is refused, and why") {
    check_unreadable("", "is empty");
    check_unreadable("{", "not JSON");
    check_unreadable(R"({"schema": 1, "schema": 2})", "duplicate key");
    check_unreadable("[1]", "the document is [1], expected an object");
    check_unreadable("{}", "is not a report of eps-bench: its /schema is missing");
    check_unreadable(R"({"schema": "eps-bench/comparison"})", "its /schema is \"eps-bench/comparison\"");
    check_unreadable_with("/schema_version", 2, "/schema_version is 2, expected 1");
    check_unreadable_with("/schema_version", "1", "/schema_version is \"1\", expected 1");
    check_unreadable_without("", "schema_version", "/schema_version is missing, expected 1");
    check_unreadable_without("", "results", "/results is missing, expected a list");
    check_unreadable_with("/results", Json::array(), "/results is empty, expected at least one case");
    check_unreadable_with("/results/1", 3, "/results/1 is 3, expected an object");
    check_unreadable_with("/results/1/name", "ep", "/results/1/name is \"ep\", expected every case once");
    check_unreadable_with("/results/1/params", nullptr, "/results/1/params is null, expected an object");
    check_unreadable_without("/results/1", "valid", "/results/1/valid is missing, expected true or false");
    const std::string rate = "/results/0/metrics/tokens_per_second";
    check_unreadable_without("/results/0/metrics", "tokens_per_second", rate + " is missing");
    check_unreadable_with(rate + "/median", nullptr, rate + "/median is null, expected a number above 0");
    check_unreadable_with(rate + "/median", 0, rate + "/median is 0, expected a number above 0");
    check_unreadable_with(rate + "/median", "fast", rate + "/median is \"fast\"");
    check_unreadable_with(rate + "/ci_high", nullptr, rate + "/ci_low is 1990");
    check_unreadable_with(rate + "/ci_low", 2001, rate + "/ci_low is 2001");
    check_unreadable_with(rate + "/ci_high", 1999, rate + "/ci_low is 1990");
    check_unreadable_without(rate, "ci_low", rate + "/ci_low is missing");
}
