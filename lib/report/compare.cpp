#include "report/compare.hpp"

#include "base/error.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <set>
#include <string_view>

#include <fmt/core.h>
#include <fmt/ranges.h>

namespace eps::report {
namespace {

bool shared_keys_agree(const Values& a, const Values& b) {
    return std::ranges::all_of(a, [&](const auto& item) {
        const auto other = b.find(item.first);
        return other == b.end() || other->second == item.second;
    });
}

const PastCase* find_same(const std::vector<PastCase>& cases, const PastCase& wanted) {
    const auto same = std::ranges::find(cases, wanted.params, &PastCase::params);
    if (same != cases.end()) return &*same;
    const auto named = std::ranges::find(cases, wanted.name, &PastCase::name);
    return named != cases.end() && shared_keys_agree(named->params, wanted.params) ? &*named : nullptr;
}

std::string value_or_none(const Values& values, const std::string& key) {
    const auto found = values.find(key);
    return found == values.end() ? "none" : found->second;
}

std::set<std::string> keys_that_differ(const Values& a, const Values& b) {
    std::set<std::string> keys;
    for (const Values* values : {&a, &b})
        for (const auto& [key, value] : *values)
            if (value_or_none(a, key) != value_or_none(b, key)) keys.insert(key);
    return keys;
}

std::string in_both(const std::string& what, const std::string& base, const std::string& fresh) {
    return fmt::format("{}: {} in the base, {} in the new report", what, base, fresh);
}

// The same work may lie in another folder, and other random numbers cost the same.
bool may_differ(const std::string& pointer, const std::string& base, const std::string& fresh) {
    constexpr std::array<std::string_view, 3> kFree = {"/workload/seed", "/model/checkpoint",
                                                       "/workload/routing/path"};
    const bool both_given = base != "none" && fresh != "none";
    if (pointer == "/workload/tokens") return base != "\"random\"" && fresh != "\"random\"" && both_given;
    return both_given && std::ranges::find(kFree, pointer) != kFree.end();
}

void compare_work(const PastReport& base, const PastReport& fresh, std::vector<std::string>& warnings) {
    for (const std::string& pointer : keys_that_differ(base.work, fresh.work)) {
        const std::string before = value_or_none(base.work, pointer),
                          now = value_or_none(fresh.work, pointer);
        if (!may_differ(pointer, before, now))
            throw Error(Exit::usage, fmt::format("{} and {} are of different work, which cannot be compared: "
                                                 "/run/config{} is {} and {}",
                                                 base.path, fresh.path, pointer, before, now));
        warnings.push_back(in_both(pointer.substr(1), before, now));
    }
}

void compare_conditions(const PastReport& base, const PastReport& fresh, std::vector<std::string>& warnings) {
    if (base.modelled != fresh.modelled)
        warnings.push_back(base.modelled ? "the base is modelled, the new report measured"
                                         : "the base is measured, the new report modelled");
    for (const std::string& what : keys_that_differ(base.conditions, fresh.conditions))
        warnings.push_back(
            in_both(what, value_or_none(base.conditions, what), value_or_none(fresh.conditions, what)));
    const auto variables = keys_that_differ(base.variables, fresh.variables);
    if (!variables.empty())
        warnings.push_back(fmt::format("environment variables differ: {}", fmt::join(variables, ", ")));
    for (const PastReport* report : {&base, &fresh})
        if (!report->finished)
            warnings.push_back(
                fmt::format("the run of {} did not finish: cases may be missing", report->path));
}

std::vector<std::string> notes_on(const PastCase& base, const PastCase& fresh) {
    std::vector<std::string> notes;
    for (const PastCase* one : {&base, &fresh}) {
        const char* where = one == &base ? "the base" : "the new report";
        if (!one->valid) {
            notes.push_back(fmt::format("INVALID in {}: {}", where, fmt::join(one->invalid_reasons, "; ")));
        } else if (!one->ci_low) {
            notes.push_back(
                fmt::format("no interval in {}: {} of at least 6 samples", where, one->num_samples));
        }
    }
    for (const std::string& key : keys_that_differ(base.chosen, fresh.chosen))
        notes.push_back(
            in_both(key + " chosen", value_or_none(base.chosen, key), value_or_none(fresh.chosen, key)));
    if (std::abs(fresh.flops - base.flops) > 1e-9 * base.flops)
        notes.push_back(
            in_both("FLOP of a pass", fmt::format("{:.6g}", base.flops), fmt::format("{:.6g}", fresh.flops)));
    return notes;
}

std::string names_of(const std::vector<PastCase>& cases) {
    std::vector<std::string> names;
    for (const PastCase& one : cases)
        if (names.size() < 3) names.push_back(one.name);
    return fmt::format("{}{}", fmt::join(names, ", "), cases.size() > names.size() ? ", ..." : "");
}

}  // namespace

std::string name_of(Verdict verdict) {
    constexpr std::array<const char*, kNumVerdicts> kNames = {"FASTER",  "SLOWER",  "SAME", "NOISY",
                                                              "INVALID", "MISSING", "NEW"};
    return kNames.at(static_cast<std::size_t>(verdict));
}

Verdict verdict_of(const PastCase& base, const PastCase& fresh, double threshold_percent) {
    if (!base.valid || !fresh.valid) return Verdict::invalid;
    const bool within = 100 * std::abs(fresh.median - base.median) <= threshold_percent * base.median;
    if (within) return Verdict::same;
    if (!base.ci_low || !fresh.ci_low) return Verdict::noisy;
    if (*fresh.ci_low > *base.ci_high) return Verdict::faster;
    if (*fresh.ci_high < *base.ci_low) return Verdict::slower;
    return Verdict::noisy;
}

double ComparedCase::change_percent() const {
    return base && fresh ? 100 * (fresh->median / base->median - 1) : kUnknown;
}

bool ComparedCase::regressed() const {
    return verdict == Verdict::slower || (verdict == Verdict::invalid && base->valid);
}

std::vector<std::string> Comparison::regressions() const {
    std::vector<std::string> names;
    for (const ComparedCase& one : cases)
        if (one.regressed()) names.push_back(one.either().name);
    return names;
}

Comparison compare(const PastReport& base, const PastReport& fresh, double threshold_percent) {
    Comparison made{base, fresh, threshold_percent, {}, {}};
    compare_work(base, fresh, made.warnings);
    compare_conditions(base, fresh, made.warnings);
    std::set<const PastCase*> matched;
    for (const PastCase& one : base.cases) {
        const PastCase* same = find_same(fresh.cases, one);
        if (same == nullptr || !matched.insert(same).second) {
            made.cases.push_back({Verdict::missing, one, {}, {}});
        } else {
            made.cases.push_back(
                {verdict_of(one, *same, threshold_percent), one, *same, notes_on(one, *same)});
        }
    }
    if (matched.empty())
        throw Error(Exit::usage,
                    fmt::format("{} and {} have no case in common: the one has {}, the other {}", base.path,
                                fresh.path, names_of(base.cases), names_of(fresh.cases)));
    for (const PastCase& one : fresh.cases)
        if (!matched.contains(&one)) made.cases.push_back({Verdict::added, {}, one, {}});
    return made;
}

}  // namespace eps::report
