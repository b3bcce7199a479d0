// Made-up reports of earlier runs, for comparisons.
#pragma once

#include "report/past_report.hpp"

#include <optional>
#include <string>
#include <utility>
#include <vector>

inline eps::report::PastCase past_case(const std::string& name, double low, double median, double high) {
    eps::report::PastCase made;
    made.name = name;
    made.params = {{"strategy", '"' + name + '"'}, {"dtype", "\"f32\""}, {"link", "null"}};
    made.valid = true;
    made.num_samples = 7;
    made.median = median;
    made.ci_low = low;
    made.ci_high = high;
    made.flops = 1e9;
    return made;
}

/// An interval of 1 % on each side.
inline eps::report::PastCase steady(const std::string& name, double median) {
    return past_case(name, 0.99 * median, median, 1.01 * median);
}

inline eps::report::PastCase broken_case(const std::string& name) {
    eps::report::PastCase made = steady(name, 1);
    made.valid = false;
    made.invalid_reasons = {"reference: layer 2 differs", "no sample"};
    made.num_samples = 0;
    made.median = eps::report::kUnknown;
    made.ci_low = made.ci_high = std::nullopt;
    return made;
}

inline eps::report::PastReport past_report(const std::string& path,
                                           std::vector<eps::report::PastCase> cases) {
    eps::report::PastReport made;
    made.path = path;
    made.name = "quickstart";
    made.run_id = "6f2c1f5e-0d0a-4d8e-9a51-0c3f5ad0c111";
    made.utc_start = "2026-01-31T23:59:58Z";
    made.version = "0.1.0";
    made.git_sha = "0123456789abcdef0123456789abcdef01234567";
    made.work = {{"/model/preset", "\"tiny\""}, {"/workload/batch", "8"}, {"/workload/seed", "1"}};
    made.conditions = {{"host", "node1"}, {"threads per rank", "1"}};
    made.cases = std::move(cases);
    return made;
}
