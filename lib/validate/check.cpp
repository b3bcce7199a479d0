#include "validate/check.hpp"

#include "base/error.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include <fmt/format.h>

namespace eps::validate {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Why two tensors cannot be compared, if so. A NaN would slip through every comparison with a bound.
std::optional<std::string> problem_of(const std::string& what, std::span<const float> expected,
                                      std::span<const float> actual) {
    if (actual.size() != expected.size())
        return fmt::format("{}: {} values were captured, {} expected", what, actual.size(), expected.size());
    for (std::size_t i = 0; i < actual.size(); ++i) {
        if (!std::isfinite(actual[i])) return fmt::format("{}: value {} is not finite", what, i);
        if (!std::isfinite(expected[i]))
            return fmt::format("{}: value {} of the reference is not finite", what, i);
    }
    return std::nullopt;
}

double ratio(double error, double scale) {
    if (error == 0) return 0;
    return scale > 0 ? error / scale : kInfinity;
}

// Empty if at least half the tokens stayed in the comparison.
std::string too_few_left(const std::string& what, const CheckResult& result) {
    const std::int64_t left = result.tokens - result.tokens_left_out;
    if (2 * left >= result.tokens) return "";
    return fmt::format("{}: near-ties of the gate left only {} of {} tokens to compare", what, left,
                       result.tokens);
}

// One layer's comparison, step by step.
class LayerCheck {
  public:
    LayerCheck(const model::ModelSpec& spec, const Tolerance& tolerance, std::int64_t layer,
               const LayerResult& expected, const LayerCapture& actual)
        : spec_(spec),
          tolerance_(tolerance),
          layer_(layer),
          expected_(expected),
          actual_(actual),
          num_tokens_(static_cast<std::int64_t>(expected.hidden.size()) / spec.hidden_size),
          left_out_(static_cast<std::size_t>(num_tokens_), false) {
        result_.reason.clear();
        result_.bound = tolerance.bound;
        result_.origin = tolerance.origin;
        result_.tokens = num_tokens_;
    }

    CheckResult run(std::span<const float> input, Routing routing, Tokens tokens) {
        if (!captured_well(input)) return result_;
        if (spec_.is_moe(layer_)) {
            compare_ids(routing);
            if (tokens == Tokens::all && result_.reason.empty())
                result_.reason = too_few_left(fmt::format("layer {}", layer_), result_);
            if (result_.reason.empty()) compare_weights();
        }
        if (result_.reason.empty()) compare_update(input);
        if (result_.reason.empty() && result_.compared == 0 && result_.tokens_left_out == 0)
            result_.reason = fmt::format("layer {}: nothing was compared", layer_);
        return result_;
    }

  private:
    bool captured_well(std::span<const float> input) {
        const auto note = [&](const std::string& what, std::span<const float> want,
                              std::span<const float> got) {
            const auto problem = problem_of(fmt::format("layer {} {}", layer_, what), want, got);
            if (problem && result_.reason.empty()) result_.reason = *problem;
        };
        note("input", expected_.after_attention, input);
        note("hidden", expected_.hidden, actual_.hidden);
        if (spec_.is_moe(layer_)) note("topk_weights", expected_.gate.weights, actual_.weights);
        if (spec_.is_moe(layer_) && actual_.ids.size() != expected_.gate.ids.size() && result_.reason.empty())
            result_.reason = fmt::format("layer {} topk_ids: {} values were captured, {} expected", layer_,
                                         actual_.ids.size(), expected_.gate.ids.size());
        return result_.reason.empty();
    }

    std::span<const std::int32_t> ids(const std::vector<std::int32_t>& all, std::int64_t token) const {
        const auto k = static_cast<std::size_t>(spec_.num_experts_per_tok);
        return std::span(all).subspan(static_cast<std::size_t>(token) * k, k);
    }

    std::span<const float> of_experts(const std::vector<float>& all, std::int64_t token) const {
        const auto n = static_cast<std::size_t>(spec_.n_routed_experts);
        return std::span(all).subspan(static_cast<std::size_t>(token) * n, n);
    }

    // Errors of a token's scores are judged relative to this: they grow with its logits.
    double score_scale(std::int64_t token) const {
        return std::max(1.0, spread(of_experts(expected_.gate.logits, token)));
    }

    double margin_of(std::span<const std::int32_t> chosen, std::int64_t token) const {
        return choice_margin(spec_, of_experts(expected_.gate.scores, token), chosen);
    }

    void compare_ids(Routing routing) {
        for (std::int64_t t = 0; t < num_tokens_; ++t) {
            const auto want = ids(expected_.gate.ids, t), got = ids(actual_.ids, t);
            if (std::is_permutation(want.begin(), want.end(), got.begin(), got.end())) continue;
            const double error = routing == Routing::forced ? kInfinity : -margin_of(got, t) / score_scale(t);
            if (error > tolerance_.bound) {
                result_.max_error = error;
                result_.reason = fmt::format(
                    "layer {} token {}: experts {} instead of {}, which is {}", layer_, t,
                    fmt::join(got, ","), fmt::join(want, ","),
                    routing == Routing::forced
                        ? "not what was forced"
                        : fmt::format("no near-tie: {:.3g} is above {:.3g}", error, tolerance_.bound));
                return;
            }
            left_out_[static_cast<std::size_t>(t)] = true;
            ++result_.flips;
        }
        result_.tokens_left_out = result_.flips;
    }

    void note_error(double error, const std::string& what, std::int64_t token) {
        if (error > result_.max_error) result_.max_error = error;
        if (error > tolerance_.bound && result_.reason.empty())
            result_.reason = fmt::format("layer {} {} of token {}: relative error {:.3g} is above {:.3g}",
                                         layer_, what, token, error, tolerance_.bound);
    }

    void compare_weights() {
        for (std::int64_t t = 0; t < num_tokens_; ++t) {
            if (left_out_[static_cast<std::size_t>(t)]) continue;
            const auto want = ids(expected_.gate.ids, t), got = ids(actual_.ids, t);
            const float* want_weights = expected_.gate.weights.data() + t * spec_.num_experts_per_tok;
            const float* got_weights = actual_.weights.data() + t * spec_.num_experts_per_tok;
            double largest = 0, error = 0;
            for (std::size_t i = 0; i < want.size(); ++i) {
                const auto j = std::find(got.begin(), got.end(), want[i]) - got.begin();
                largest = std::max(largest, std::abs(static_cast<double>(want_weights[i])));
                error = std::max(error, std::abs(static_cast<double>(want_weights[i]) - got_weights[j]));
                ++result_.compared;
            }
            note_error(ratio(error, largest) / score_scale(t), "topk_weights", t);
        }
    }

    void compare_update(std::span<const float> input) {
        double largest = 0, error = 0;
        std::int64_t worst_token = 0;
        for (std::int64_t t = 0; t < num_tokens_; ++t) {
            if (left_out_[static_cast<std::size_t>(t)]) continue;
            for (std::int64_t i = t * spec_.hidden_size; i < (t + 1) * spec_.hidden_size; ++i) {
                const auto at = static_cast<std::size_t>(i);
                const double want = expected_.hidden[at];
                // The stream is stored twice within a layer: after attention and after the MLP.
                const double stored =
                    tolerance_.rounding *
                    (std::abs(want) + std::abs(static_cast<double>(expected_.after_attention[at])));
                const double e = std::max(std::abs(want - actual_.hidden[at]) - stored, 0.0);
                largest = std::max(largest, std::abs(want - input[at]));
                if (e > error) {
                    error = e;
                    worst_token = t;
                }
                ++result_.compared;
            }
        }
        note_error(ratio(error, largest), "update of hidden", worst_token);
    }

    const model::ModelSpec& spec_;
    const Tolerance& tolerance_;
    std::int64_t layer_;
    const LayerResult& expected_;
    const LayerCapture& actual_;
    std::int64_t num_tokens_;
    std::vector<bool> left_out_;
    CheckResult result_;
};

}  // namespace

Tolerance tolerance_of(DType dtype, bool partial_sums) {
    if (dtype == DType::f32)
        return {1e-4, 0x1p-24, "f32: sums in another order differ by about 4e-6; 25 times that"};
    if (dtype == DType::bf16 && partial_sums)
        return {3e-2, 0x1p-9,
                "bf16: fifteen roundings of 2^-9 on the longest path of a layer whose partial sums travel "
                "rounded, all of one sign; usual: 6e-3 to 2.2e-2"};
    if (dtype == DType::bf16)
        return {2e-2, 0x1p-9,
                "bf16: ten roundings of 2^-9 on the longest path of a layer, all of one sign; usual: 6e-3 to "
                "1.2e-2"};
    throw Error(Exit::internal, "a dtype to check is f32 or bf16");
}

Tolerance exact_tolerance() {
    return {0, 0, "copied, not computed"};
}

CheckResult check_layer(const model::ModelSpec& spec, const Tolerance& tolerance, std::int64_t layer,
                        std::span<const float> input, const LayerResult& expected, const LayerCapture& actual,
                        Routing routing, Tokens tokens) {
    return LayerCheck(spec, tolerance, layer, expected, actual).run(input, routing, tokens);
}

CheckResult check_values(const Tolerance& tolerance, const std::string& what, std::span<const float> expected,
                         std::span<const float> actual) {
    CheckResult result;
    result.bound = tolerance.bound;
    result.origin = tolerance.origin;
    if (const auto problem = problem_of(what, expected, actual)) {
        result.reason = *problem;
        return result;
    }
    double largest = 0, error = 0;
    std::size_t worst = 0;
    for (std::size_t i = 0; i < expected.size(); ++i) {
        const double e = std::abs(static_cast<double>(expected[i]) - actual[i]);
        largest = std::max(largest, std::abs(static_cast<double>(expected[i])));
        if (e > error) {
            error = e;
            worst = i;
        }
    }
    result.compared = static_cast<std::int64_t>(expected.size());
    result.max_error = ratio(error, largest);
    if (result.max_error > tolerance.bound)
        result.reason = fmt::format("{}: relative error {:.3g} at value {} is above {:.3g}", what,
                                    result.max_error, worst, tolerance.bound);
    else if (result.compared > 0)
        result.reason.clear();
    else
        result.reason = what + ": nothing was compared";
    return result;
}

CheckResult combined(const std::string& kind, std::span<const CheckResult> parts) {
    CheckResult all;
    all.kind = kind;
    double closest = -1;
    std::string first_reason;
    for (const CheckResult& part : parts) {
        all.compared += part.compared;
        all.tokens += part.tokens;
        all.flips += part.flips;
        all.tokens_left_out += part.tokens_left_out;
        if (first_reason.empty()) first_reason = part.reason;
        const double closeness = ratio(part.max_error, part.bound);
        if (closeness > closest) {
            closest = closeness;
            all.max_error = part.max_error;
            all.bound = part.bound;
            all.origin = part.origin;
        }
    }
    if (first_reason.empty()) first_reason = too_few_left(kind, all);
    if (!first_reason.empty() || all.compared > 0) all.reason = first_reason;
    return all;
}

}  // namespace eps::validate
