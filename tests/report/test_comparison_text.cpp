#include "report/compare.hpp"
#include "report/grid.hpp"
#include "tests/catch.hpp"
#include "tests/report/past_reports.hpp"

#include <string>

#include <nlohmann/json.hpp>

using namespace eps::report;

namespace {

/// A case for each verdict.
Comparison every_verdict() {
    PastReport base =
        past_report("old.json", {steady("ep", 20000), steady("dp", 100), past_case("tp", 11, 12.5, 14),
                                 steady("pp", 2), steady("tp_ep", 1), steady("eps", 1), steady("gone", 3)});
    PastReport fresh = past_report(
        "new.json", {steady("ep", 18000.4), steady("dp", 120), past_case("tp", 11, 13.5, 14),
                     steady("pp", 2.01), broken_case("tp_ep"), steady("eps", 1), steady("come", 4)});
    fresh.git_dirty = true;
    fresh.conditions["host"] = "node2";
    return compare(base, fresh, 2.5);
}

}  // namespace

TEST_CASE("a comparison as a table") {
    REQUIRE(to_table(every_verdict()) ==
            R"(base: old.json (quickstart, 2026-01-31T23:59:58Z, 0123456)
new:  new.json (quickstart, 2026-01-31T23:59:58Z, 0123456 with changes)
warning: host: node1 in the base, node2 in the new report

case   base tokens/s  interval        new tokens/s  interval         change  verdict
-----  -------------  --------------  ------------  --------------  -------  -------
ep             20000  [19800, 20200]         18000  [17820, 18180]  -10.0 %  SLOWER
dp             100.0  [99.00, 101.0]         120.0  [118.8, 121.2]  +20.0 %  FASTER
tp             12.50  [11.00, 14.00]         13.50  [11.00, 14.00]   +8.0 %  NOISY
pp             2.000  [1.980, 2.020]         2.010  [1.990, 2.030]   +0.5 %  SAME
tp_ep          1.000  [0.990, 1.010]             -  -                     -  INVALID
eps            1.000  [0.990, 1.010]         1.000  [0.990, 1.010]   +0.0 %  SAME
gone           3.000  [2.970, 3.030]             -  -                     -  MISSING
come               -  -                      4.000  [3.960, 4.040]        -  NEW

FASTER, SLOWER: 95 % intervals apart and medians more than 2.5 % apart
SAME: medians within 2.5 %; NOISY: neither
tp_ep: INVALID in the new report: reference: layer 2 differs; no sample
1 FASTER, 1 SLOWER, 2 SAME, 1 NOISY, 1 INVALID, 1 MISSING, 1 NEW; regression: ep, tp_ep
)");
}

TEST_CASE("a comparison as Markdown") {
    REQUIRE(to_markdown(every_verdict()) ==
            R"(**1 FASTER, 1 SLOWER, 2 SAME, 1 NOISY, 1 INVALID, 1 MISSING, 1 NEW; regression: ep, tp_ep**

| case | base tokens/s | interval | new tokens/s | interval | change | verdict |
| --- | ---: | --- | ---: | --- | ---: | --- |
| ep | 20000 | [19800, 20200] | 18000 | [17820, 18180] | -10.0 % | SLOWER |
| dp | 100.0 | [99.00, 101.0] | 120.0 | [118.8, 121.2] | +20.0 % | FASTER |
| tp | 12.50 | [11.00, 14.00] | 13.50 | [11.00, 14.00] | +8.0 % | NOISY |
| pp | 2.000 | [1.980, 2.020] | 2.010 | [1.990, 2.030] | +0.5 % | SAME |
| tp_ep | 1.000 | [0.990, 1.010] | - | - | - | INVALID |
| eps | 1.000 | [0.990, 1.010] | 1.000 | [0.990, 1.010] | +0.0 % | SAME |
| gone | 3.000 | [2.970, 3.030] | - | - | - | MISSING |
| come | - | - | 4.000 | [3.960, 4.040] | - | NEW |

- base: old.json (quickstart, 2026-01-31T23:59:58Z, 0123456)
- new: new.json (quickstart, 2026-01-31T23:59:58Z, 0123456 with changes)
- warning: host: node1 in the base, node2 in the new report
- FASTER, SLOWER: 95 % intervals apart and medians more than 2.5 % apart
- SAME: medians within 2.5 %; NOISY: neither
- tp_ep: INVALID in the new report: reference: layer 2 differs; no sample
)");
}

TEST_CASE("a comparison as JSON") {
    const auto json = nlohmann::json::parse(to_json(every_verdict()));
    CHECK(json["schema"] == "eps-bench/comparison");
    CHECK(json["threshold"] == nlohmann::json{{"value", 2.5}, {"unit", "%"}});
    CHECK(json["counts"] == nlohmann::json{{"FASTER", 1},
                                           {"SLOWER", 1},
                                           {"SAME", 2},
                                           {"NOISY", 1},
                                           {"INVALID", 1},
                                           {"MISSING", 1},
                                           {"NEW", 1}});
    CHECK(json["regressions"] == nlohmann::json{"ep", "tp_ep"});
    REQUIRE(json["cases"].size() == 8);
    const auto& slower = json["cases"][0];
    CHECK(slower["params"] == nlohmann::json{{"strategy", "ep"}, {"dtype", "f32"}, {"link", nullptr}});
    CHECK(slower["base"]["median"] == 20000);
    CHECK(slower["new"] == nlohmann::json{{"valid", true},
                                          {"n", 7},
                                          {"median", 18000.4},
                                          {"ci_low", 0.99 * 18000.4},
                                          {"ci_high", 1.01 * 18000.4}});
    CHECK(slower["change"]["value"].get<double>() == Approx(-9.998));
    CHECK(slower["regression"] == true);
    const auto& invalid = json["cases"][4];
    CHECK(invalid["new"] ==
          nlohmann::json{
              {"valid", false}, {"n", 0}, {"median", nullptr}, {"ci_low", nullptr}, {"ci_high", nullptr}});
    CHECK(invalid["change"].is_null());
    CHECK(json["cases"][6]["new"].is_null());
    CHECK(json["cases"][7]["base"].is_null());
    CHECK(json["new"]["git_dirty"] == true);
}

TEST_CASE("without a regression the last line says so") {
    const PastReport report = past_report("a.json", {steady("ep", 1)});
    REQUIRE_THAT(to_table(compare(report, report, 3)), contains_text("\n1 SAME; no regression\n"));
}

TEST_CASE("a report that does not say where it is from") {
    PastReport report = past_report("a.json", {steady("ep", 1)});
    report.name = report.utc_start = report.git_sha = "";
    REQUIRE(to_table(compare(report, report, 3)).starts_with("base: a.json\nnew:  a.json\n\ncase "));
    report.modelled = true;
    REQUIRE_THAT(to_table(compare(report, report, 3)), contains_text("new:  a.json (modelled)\n"));
}

TEST_CASE("a bar in a cell does not end it in Markdown") {
    REQUIRE(to_markdown_grid({{"name", false, {"a|b", "c"}}, {"n", true, {"1", "2"}}}) ==
            "| name | n |\n| --- | ---: |\n| a\\|b | 1 |\n| c | 2 |\n");
}
