// A made-up report that fills every field: five cases on two ranks.
#pragma once

#include "report/report.hpp"

#include <limits>
#include <string>
#include <utility>
#include <vector>

inline eps::report::Metric sample_metric(const std::string& name, const std::string& unit) {
    eps::report::Metric metric;
    metric.name = name;
    metric.unit = unit;
    return metric;
}

/// `samples` ascending; the interval is left out where there are fewer than six.
inline eps::report::Metric sample_rate(std::vector<double> samples, double low, double median, double high) {
    eps::report::Metric metric = sample_metric("tokens_per_second", "tokens/s");
    metric.median = median;
    metric.min = samples.front();
    metric.max = samples.back();
    if (samples.size() >= 6) {
        metric.ci_low = low;
        metric.ci_high = high;
    }
    metric.samples = std::move(samples);
    return metric;
}

inline eps::report::Metric sample_time(double median) {
    eps::report::Metric metric = sample_metric("pass_seconds", "s");
    metric.higher_is_better = false;
    metric.median = metric.min = metric.max = median;
    metric.samples = {median};
    return metric;
}

inline eps::report::Check sample_check(const std::string& kind, bool passed) {
    eps::report::Check check;
    check.kind = kind;
    check.passed = passed;
    check.compared = 4096;
    check.max_error = passed ? 1.5e-6 : std::numeric_limits<double>::infinity();
    check.bound = 1e-4;
    check.origin = "f32 sums of 2048 terms";
    check.tokens = 128;
    check.near_ties = 2;
    check.tokens_left_out = 1;
    if (!passed) check.reason = "layer 3 differs by inf";
    return check;
}

inline eps::report::Result sample_result(const std::string& name, const std::string& params) {
    eps::report::Result result;
    result.name = name;
    result.params = params;
    result.dtype = "f32";
    result.tokens = 1024;
    result.valid = true;
    result.phases = {{"attention", "compute", 0.0625, 27, {}},
                     {"all_to_all", "dispatch", 0.015625, 26, 0.0078125}};
    result.communication = {0.015625, 0.0078125};
    result.per_rank = {
        {0, 512, 3000, 1 << 20, 3 << 20, {{"compute", 0.0625}, {"dispatch", 0.015625}}, 0.0078125},
        {1, 512, 3144, 1 << 20, 3 << 20, {{"compute", 0.0625}, {"dispatch", 0.015625}}, 0.0078125}};
    result.load = {1.0234375, {3000, 3144}, 0, 410, 4.27};
    result.expert_choices = {
        {1, 0, 2, {3, 4}, {{"group", 3, 12.5, 60}, {"dense", 1, 410, 410}}, 0.0015, 0.0017},
        {2, 0, 1, {7}, {}, eps::report::kUnknown, eps::report::kUnknown}};
    result.model = {1.25e12, 6.25e9, 6.25e11, 1e12, "measured GEMM peak of 2 threads"};
    result.checks = {sample_check("reference", true)};
    return result;
}

inline eps::report::Report sample_report() {
    using namespace eps::report;
    Report report;
    report.tool = {
        "eps-bench", "0.1.0", "0123456789abcdef0123456789abcdef01234567", true, {"Release", "GNU 12.2.0"}};
    report.run = {
        "6f2c1f5e-0d0a-4d8e-9a51-0c3f5ad0c111",
        "2026-01-31T23:59:58Z",
        "",
        {"eps-bench", "--config", "bad \xff byte.json"},
        R"({"name": "sample", "model": {"preset": "deepseek-v2-lite", "layers": 4}, "scope": "model", "backend": "cpu"})",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        false};
    report.environment.hosts = {{"node1", "AMD EPYC 9555", 2, 8LL << 30}};
    report.environment.ranks = {{0, "node1", {0, 1}, 1, {}}, {1, "node1", {0, 1}, 1, {}}};
    report.environment.mpi = "Open MPI v4.1.4";
    report.environment.calibration = {"/home/me/.cache/eps-bench/cpu.json", "0123456789abcdef", "measured",
                                      3};
    report.environment.blas = "oneDNN 2.6.3, avx512_core";
    report.environment.env = {{"OMP_WAIT_POLICY", "passive"}};

    Result ep = sample_result("ep", R"({"strategy": "ep"})");
    ep.metrics = {sample_rate({1990, 1995, 2000, 2000, 2005, 2010}, 1990, 2000, 2010), sample_time(0.512)};

    Result eps = sample_result("eps chunks=4", R"({"strategy": "eps", "chunks": 4})");
    eps.metrics = {sample_rate({2100, 2200, 2240.5, 2240.5, 2250, 2400}, 2100, 2240.5, 2400),
                   sample_time(0.457)};
    eps.communication = {0.015625, 0.001};
    eps.flags = {kNoisy, "ORACLE"};
    eps.checks.push_back(sample_check("agreement", true));

    Result automatic = sample_result("eps chunks=auto", R"({"strategy": "eps", "chunks": "auto"})");
    automatic.chosen = R"({"chunks": 5})";
    automatic.metrics = {sample_rate({2099.5, 2300.25}, 0, 2199.875, 0), sample_time(0.465)};

    Result tp = sample_result("tp", R"({"strategy": "tp"})");
    tp.valid = false;
    tp.invalid_reasons = {"reference: layer 3 differs by 0.5, bound 0.0001"};
    tp.metrics = {sample_metric("tokens_per_second", "tokens/s")};
    tp.checks = {sample_check("reference", true), sample_check("agreement", false)};

    Result placed =
        sample_result("placement bf16", R"({"placement": {"pp": 1, "attention": {"tp": 2, "dp": 1},
        "experts": {"etp": 1, "ep": 2, "edp": 1}}, "dtype": "bf16", "link": {"gb_per_s": 20, "latency_us": 5}})");
    placed.dtype = "bf16";
    placed.link = R"({"gb_per_s": 20, "latency_us": 5})";
    placed.metrics = {sample_rate({31.5, 31.5, 31.5, 31.5, 31.5, 31.5}, 31.5, 31.5, 31.5), sample_time(32.5)};
    placed.communication = {};

    report.results = {ep, eps, automatic, tp, placed};
    for (Result& result : report.results) result.notes = {"2 ranks share 1 core"};
    return report;
}
