#include "measure/rounds.hpp"

#include <algorithm>

namespace eps::measure {
namespace {

/// One case's share of a round.
void run_case(std::int64_t case_idx, const StoppingRule& rule, const RunPass& run_pass,
              std::vector<double>& samples) {
    const std::int64_t num_untimed = samples.empty() ? std::max<std::int64_t>(1, rule.warmup) : 1;
    for (std::int64_t i = 0; i < num_untimed; ++i) run_pass(case_idx, Pass::untimed);
    for (std::int64_t i = 0; i < kTimedPassesPerRound && !rule.enough(samples); ++i) {
        samples.push_back(run_pass(case_idx, Pass::timed));
    }
}

}  // namespace

std::vector<std::vector<double>> measure_in_rounds(std::int64_t num_cases, const StoppingRule& rule,
                                                   const RunPass& run_pass) {
    std::vector<std::vector<double>> samples(static_cast<std::size_t>(num_cases));
    for (bool any_ran = true; any_ran;) {
        any_ran = false;
        for (std::int64_t case_idx = 0; case_idx < num_cases; ++case_idx) {
            std::vector<double>& of_case = samples[static_cast<std::size_t>(case_idx)];
            if (rule.enough(of_case)) continue;
            run_case(case_idx, rule, run_pass, of_case);
            any_ran = true;
        }
    }
    return samples;
}

}  // namespace eps::measure
