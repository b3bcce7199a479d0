#include "base/error.hpp"
#include "report/compare.hpp"
#include "tests/catch.hpp"
#include "tests/report/past_reports.hpp"

#include <string>
#include <vector>

using namespace eps::report;

namespace {

Verdict verdict(const PastCase& base, const PastCase& fresh, double threshold_percent = 3) {
    return verdict_of(base, fresh, threshold_percent);
}

std::vector<std::string> verdicts(const Comparison& comparison) {
    std::vector<std::string> texts;
    for (const ComparedCase& one : comparison.cases)
        texts.push_back(one.either().name + " " + name_of(one.verdict));
    return texts;
}

void check_refused(const PastReport& base, const PastReport& fresh, const std::string& part) {
    try {
        compare(base, fresh, 3);
        FAIL_CHECK("compared");
    } catch (const eps::Error& error) {
        CHECK(error.status() == eps::Exit::usage);
        CHECK_THAT(error.what(), contains_text(part));
    }
}

using Words = std::vector<std::string>;

}  // namespace

TEST_CASE("intervals apart and medians further apart than the threshold: faster or slower") {
    const PastCase base = past_case("ep", 990, 1000, 1010);
    CHECK(verdict(base, past_case("ep", 1011, 1040, 1050)) == Verdict::faster);
    CHECK(verdict(base, past_case("ep", 950, 960, 989)) == Verdict::slower);
    // Each of the two alone says nothing.
    CHECK(verdict(base, past_case("ep", 1010, 1040, 1050)) == Verdict::noisy);
    CHECK(verdict(base, past_case("ep", 950, 960, 990)) == Verdict::noisy);
    CHECK(verdict(base, past_case("ep", 1011, 1020, 1030)) == Verdict::same);
    CHECK(verdict(base, past_case("ep", 970, 980, 989)) == Verdict::same);
}

TEST_CASE("medians exactly as far apart as the threshold are the same") {
    CHECK(verdict(past_case("ep", 1000, 1000, 1000), past_case("ep", 1030, 1030, 1030)) == Verdict::same);
    CHECK(verdict(past_case("ep", 1000, 1000, 1000), past_case("ep", 970, 970, 970)) == Verdict::same);
    CHECK(verdict(past_case("ep", 1000, 1000, 1000), past_case("ep", 1030.01, 1030.01, 1030.01)) ==
          Verdict::faster);
    CHECK(verdict(past_case("ep", 1000, 1000, 1000), past_case("ep", 969.99, 969.99, 969.99)) ==
          Verdict::slower);
    CHECK(verdict(past_case("ep", 10, 10, 10), past_case("ep", 10, 10, 10), 0) == Verdict::same);
    CHECK(verdict(past_case("ep", 10, 10, 10), past_case("ep", 9.999, 9.999, 9.999), 0) == Verdict::slower);
}

TEST_CASE("medians within the threshold are the same however wide the intervals") {
    CHECK(verdict(past_case("ep", 500, 1000, 1500), past_case("ep", 100, 1001, 9000)) == Verdict::same);
}

TEST_CASE("without an interval only nearness can be told") {
    PastCase few = steady("ep", 500);
    few.ci_low = few.ci_high = std::nullopt;
    CHECK(verdict(steady("ep", 1000), few) == Verdict::noisy);
    CHECK(verdict(few, steady("ep", 1000)) == Verdict::noisy);
    CHECK(verdict(few, steady("ep", 501)) == Verdict::same);
}

TEST_CASE("a case that is invalid on either side has no other verdict; only a new failure is a regression") {
    CHECK(verdict(broken_case("ep"), steady("ep", 1)) == Verdict::invalid);
    CHECK(verdict(steady("ep", 1), broken_case("ep")) == Verdict::invalid);
    const Comparison comparison = compare(
        past_report("a.json", {steady("ep", 1000), broken_case("dp"), broken_case("tp"), steady("pp", 1000)}),
        past_report("b.json", {broken_case("ep"), steady("dp", 1000), broken_case("tp"), steady("pp", 900)}),
        3);
    CHECK(verdicts(comparison) == Words{"ep INVALID", "dp INVALID", "tp INVALID", "pp SLOWER"});
    CHECK(comparison.regressions() == Words{"ep", "pp"});
    CHECK(comparison.cases[0].notes ==
          Words{"INVALID in the new report: reference: layer 2 differs; no sample"});
    CHECK(comparison.cases[1].notes == Words{"INVALID in the base: reference: layer 2 differs; no sample"});
}

TEST_CASE("cases of one report only are named, in the order of the reports") {
    const Comparison comparison =
        compare(past_report("a.json", {steady("ep", 1), steady("dp", 1), steady("tp", 1)}),
                past_report("b.json", {steady("eps", 1), steady("tp", 2), steady("ep", 0.5)}), 3);
    CHECK(verdicts(comparison) == Words{"ep SLOWER", "dp MISSING", "tp FASTER", "eps NEW"});
    CHECK(comparison.regressions() == Words{"ep"});
}

TEST_CASE("cases match by parameters, whatever they are called") {
    PastCase renamed = steady("ep", 1000);
    renamed.name = "ep with another name";
    CHECK(verdicts(compare(past_report("a", {steady("ep", 1000)}), past_report("b", {renamed}), 3)) ==
          Words{"ep with another name SAME"});

    PastCase other = steady("ep", 1000);
    other.params["dtype"] = "\"bf16\"";
    CHECK(verdicts(compare(past_report("a", {steady("ep", 1000), steady("tp", 1)}),
                           past_report("b", {other, steady("tp", 1)}), 3)) ==
          Words{"ep MISSING", "tp SAME", "ep NEW"});
}

TEST_CASE("a parameter that only one version knows does not part cases of one name") {
    PastCase later = steady("ep", 1000);
    later.params["prefetch"] = "false";
    CHECK(verdicts(compare(past_report("a", {steady("ep", 1000)}), past_report("b", {later}), 3)) ==
          Words{"ep SAME"});
    later.name = "ep/prefetch=true";
    later.params["prefetch"] = "true";
    check_refused(past_report("a", {steady("ep", 1000)}), past_report("b", {later}), "no case in common");
}

TEST_CASE("a case is matched once") {
    PastCase twin = steady("ep", 1000);
    twin.name = "ep again";
    const Comparison comparison =
        compare(past_report("a", {steady("ep", 1000), twin}), past_report("b", {steady("ep", 1000)}), 3);
    CHECK(verdicts(comparison) == Words{"ep SAME", "ep again MISSING"});
}

TEST_CASE("reports without a case in common are refused") {
    check_refused(past_report("a.json", {steady("ep", 1), steady("tp", 1)}),
                  past_report("b.json", {steady("a", 1), steady("b", 1), steady("c", 1), steady("d", 1)}),
                  "a.json and b.json have no case in common: the one has ep, tp, the other a, b, c, ...");
}

TEST_CASE("reports of different work are refused") {
    const PastReport base = past_report("a.json", {steady("ep", 1)});
    PastReport fresh = past_report("b.json", {steady("ep", 1)});
    fresh.work["/workload/batch"] = "16";
    check_refused(base, fresh, "/run/config/workload/batch is 8 and 16");
    fresh = base;
    fresh.work["/model/overrides/num_experts_per_tok"] = "2";
    check_refused(base, fresh, "/run/config/model/overrides/num_experts_per_tok is none and 2");
    fresh = base;
    fresh.work["/workload/tokens"] = "\"ids.safetensors\"";
    check_refused(base, fresh, "/run/config/workload/tokens is none and");
    check_refused(fresh, base, "/run/config/workload/tokens is");
}

TEST_CASE("other seeds and folders, conditions and unfinished runs are warned of") {
    PastReport base = past_report("a.json", {steady("ep", 1)});
    PastReport fresh = base;
    fresh.path = "b.json";
    CHECK(compare(base, fresh, 3).warnings.empty());

    base.work["/workload/tokens"] = "\"/x/ids.safetensors\"";
    fresh.work["/workload/tokens"] = "\"/y/ids.safetensors\"";
    fresh.work["/workload/seed"] = "2";
    fresh.conditions["threads per rank"] = "2";
    fresh.conditions["cuda"] = "13.0";
    base.variables = {{"OMP_NUM_THREADS", "\"1\""}};
    fresh.variables = {{"OMP_NUM_THREADS", "\"2\""}, {"EPS_X", "\"\""}};
    fresh.finished = false;
    fresh.modelled = true;
    CHECK(
        compare(base, fresh, 3).warnings ==
        Words{"workload/seed: 1 in the base, 2 in the new report",
              "workload/tokens: \"/x/ids.safetensors\" in the base, \"/y/ids.safetensors\" in the new report",
              "the base is measured, the new report modelled",
              "cuda: none in the base, 13.0 in the new report",
              "threads per rank: 1 in the base, 2 in the new report",
              "environment variables differ: EPS_X, OMP_NUM_THREADS",
              "the run of b.json did not finish: cases may be missing"});
}

TEST_CASE("what may explain a figure is noted beside it") {
    PastCase base = steady("eps", 1000), fresh = steady("eps", 900);
    base.chosen = {{"chunks", "5"}, {"gemm", "\"group\""}};
    fresh.chosen = {{"chunks", "4"}, {"gemm", "\"group\""}};
    fresh.flops = 2e9;
    fresh.num_samples = 3;
    fresh.ci_low = fresh.ci_high = std::nullopt;
    const Comparison comparison = compare(past_report("a", {base}), past_report("b", {fresh}), 3);
    CHECK(comparison.cases[0].notes == Words{"no interval in the new report: 3 of at least 6 samples",
                                             "chunks chosen: 5 in the base, 4 in the new report",
                                             "FLOP of a pass: 1e+09 in the base, 2e+09 in the new report"});
}
