// Two reports of the same work side by side: which cases became faster or slower, as far as their intervals
// can tell.
#pragma once

#include "report/past_report.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace eps::report {

enum class Verdict : std::uint8_t { faster, slower, same, noisy, invalid, missing, added };
constexpr std::int64_t kNumVerdicts = 7;
/// "FASTER", ..., "MISSING" (not in the new report), "NEW" (not in the base).
std::string name_of(Verdict verdict);

/// On tokens per second. Intervals apart and medians further apart than the threshold (a share of the base's,
/// in percent): faster or slower; medians within the threshold: same; otherwise noisy, as are cases without
/// an interval. Invalid as soon as one of the two is.
Verdict verdict_of(const PastCase& base, const PastCase& fresh, double threshold_percent);

struct ComparedCase {
    Verdict verdict = Verdict::noisy;
    std::optional<PastCase> base;   // one of the two is there
    std::optional<PastCase> fresh;  // of the new report
    std::vector<std::string> notes;

    const PastCase& either() const { return fresh ? *fresh : *base; }
    /// Of the median, in percent of the base's; kUnknown where there are not two.
    double change_percent() const;
    /// Slower, or valid in the base and invalid now.
    bool regressed() const;
};

struct Comparison {
    PastReport base;
    PastReport fresh;
    double threshold_percent = 0;
    std::vector<std::string> warnings;  // what else differs and may explain a figure
    std::vector<ComparedCase> cases;    // the base's in its order, then those it has not

    std::vector<std::string> regressions() const;  // names
};

/// Cases are the same with the same parameters, dtype and link. Parameters that only one report knows,
/// because it is of a later version, do not part cases of the same name. Throws Error(usage) for reports of
/// other work (model, scope, workload; other seeds and paths only warn) and without a case in common.
Comparison compare(const PastReport& base, const PastReport& fresh, double threshold_percent);

/// For a terminal; ASCII, lines end in newlines.
std::string to_table(const Comparison& comparison);
std::string to_markdown(const Comparison& comparison);
/// configs/schema/comparison.schema.json describes it.
std::string to_json(const Comparison& comparison);

}  // namespace eps::report
