#include "validate/agreement.hpp"

#include "base/error.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

#include <fmt/format.h>

namespace eps::validate {
namespace {

CheckResult agreement_with(const std::string& origin) {
    CheckResult result;
    result.kind = "agreement";
    result.origin = origin;
    return result;
}

}  // namespace

CheckResult check_same_bits(const std::string& other, std::span<const float> expected,
                            std::span<const float> actual) {
    CheckResult result = agreement_with("bit for bit with " + other);
    if (expected.size() != actual.size()) {
        result.reason =
            fmt::format("{} values to compare with {} of {}", actual.size(), expected.size(), other);
        return result;
    }
    if (expected.empty()) return result;
    result.reason.clear();
    std::int64_t num_different = 0;
    std::size_t first = 0;
    for (std::size_t i = 0; i < expected.size(); ++i) {
        if (std::bit_cast<std::uint32_t>(expected[i]) == std::bit_cast<std::uint32_t>(actual[i])) continue;
        if (num_different++ == 0) first = i;
        result.max_error = std::max(result.max_error, std::abs(static_cast<double>(expected[i]) - actual[i]));
    }
    result.compared = static_cast<std::int64_t>(expected.size());
    if (num_different > 0)
        result.reason =
            fmt::format("{} of {} values differ in their bits from {}; the first is value {}: {} is not {}",
                        num_different, result.compared, other, first, actual[first], expected[first]);
    return result;
}

CheckResult check_agreement(const std::string& other, DType dtype, std::span<const float> expected,
                            std::span<const float> actual, std::int64_t num_cols,
                            const std::vector<bool>& left_out) {
    const auto cols = static_cast<std::size_t>(num_cols);
    const std::size_t num_rows = expected.size() / cols;
    if (!left_out.empty() && left_out.size() != num_rows)
        throw Error(Exit::internal,
                    fmt::format("{} rows to leave out or not, {} rows", left_out.size(), num_rows));

    // Runs of other sizes have nothing to leave out; check_values says so.
    std::vector<float> kept_expected(expected.begin(), expected.end()),
        kept_actual(actual.begin(), actual.end());
    std::int64_t num_left_out = 0;
    if (expected.size() == actual.size() && !left_out.empty()) {
        kept_expected.clear();
        kept_actual.clear();
        for (std::size_t r = 0; r < num_rows; ++r) {
            if (left_out[r]) {
                ++num_left_out;
                continue;
            }
            const auto row = [&](std::span<const float> all) { return all.subspan(r * cols, cols); };
            kept_expected.insert(kept_expected.end(), row(expected).begin(), row(expected).end());
            kept_actual.insert(kept_actual.end(), row(actual).begin(), row(actual).end());
        }
    }
    Tolerance tolerance = tolerance_of(dtype);
    tolerance.origin = fmt::format("the whole pass against {}; {}", other, tolerance.origin);
    CheckResult result = check_values(tolerance, "output", kept_expected, kept_actual);
    result.kind = "agreement";
    result.tokens = static_cast<std::int64_t>(num_rows);
    result.flips = result.tokens_left_out = num_left_out;
    result.decisive = dtype == DType::f32;
    if (result.passed() && 2 * (result.tokens - num_left_out) < result.tokens)
        result.reason = fmt::format("near-ties of the gate left only {} of {} rows to compare with {}",
                                    result.tokens - num_left_out, result.tokens, other);
    return result;
}

std::vector<bool> rows_after_flips(std::span<const std::int64_t> starts, std::int64_t top_k,
                                   std::span<const std::vector<std::int32_t>> expected,
                                   std::span<const std::vector<std::int32_t>> actual) {
    if (expected.size() != actual.size())
        throw Error(Exit::internal, "two runs of the same work have the same number of layers");
    std::vector<bool> after(static_cast<std::size_t>(starts.empty() ? 0 : starts.back()), false);
    const auto k = static_cast<std::ptrdiff_t>(top_k);
    for (std::size_t layer = 0; layer < expected.size(); ++layer) {
        if (expected[layer].size() != actual[layer].size())
            throw Error(Exit::internal, "two runs of the same work route the same number of tokens");
        for (std::size_t t = 0; t * static_cast<std::size_t>(top_k) < expected[layer].size(); ++t) {
            const auto want = expected[layer].begin() + static_cast<std::ptrdiff_t>(t) * k;
            const auto got = actual[layer].begin() + static_cast<std::ptrdiff_t>(t) * k;
            if (!std::is_permutation(want, want + k, got, got + k)) after[t] = true;
        }
    }
    for (std::size_t s = 0; s + 1 < starts.size(); ++s)
        for (auto t = static_cast<std::size_t>(starts[s]) + 1; t < static_cast<std::size_t>(starts[s + 1]);
             ++t)
            if (after[t - 1]) after[t] = true;
    return after;
}

}  // namespace eps::validate
