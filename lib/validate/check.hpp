// Verdicts: what a run computed against what the reference pass says, with the number of values compared, the
// largest error, its bound and where the bound comes from.
#pragma once

#include "base/dtype.hpp"
#include "validate/reference.hpp"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace eps::validate {

/// `bound` is for relative errors: max |a - b| / max |reference| over a tensor. `rounding` is the dtype's
/// unit roundoff, which every stored value may be off by.
struct Tolerance {
    double bound = 0;
    double rounding = 0;
    std::string origin;  // one line for the report
};

/// What one layer, or the head, may differ by when both start from the same rows. `partial_sums`: sums over
/// ranks are made of parts that were rounded to the dtype for the wire.
Tolerance tolerance_of(DType dtype, bool partial_sums = false);

/// For values that are only copied, such as embedding rows.
Tolerance exact_tolerance();

struct CheckResult {
    std::string kind;  // "reference", "spot", "agreement"
    std::int64_t compared = 0;
    double max_error = 0;
    double bound = 0;
    std::string origin;
    std::int64_t tokens = 0;           // (token, layer) pairs looked at
    std::int64_t flips = 0;            // those whose other choice of experts was accepted as a near-tie
    std::int64_t tokens_left_out = 0;  // those that left the comparison because of it
    bool decisive = true;              // false: reported, but the verdict does not depend on it
    std::string reason = "nothing was compared";  // empty: passed

    bool passed() const { return reason.empty(); }
};

/// What a run stored of one layer, as f32 rows of the whole batch. ids and weights [T, top_k] of MoE layers,
/// empty on dense ones.
struct LayerCapture {
    std::vector<float> hidden;  // [T, hidden_size] after the layer
    std::vector<std::int32_t> ids;
    std::vector<float> weights;
};

enum class Routing : std::uint8_t { gate, forced };
/// all: the tokens of a batch. samples: a few of them; whether enough are left is asked of all layers
/// together.
enum class Tokens : std::uint8_t { all, samples };

/// One layer of a run. `input` are the rows that entered it and from which `expected` was computed.
/// - ids, as sets: another set is a near-tie only where its choice_margin is at least -bound * max(1, spread
/// of the
///   token's logits); such tokens leave the comparison, and at least half must stay. Forced ids may not
///   differ.
/// - weights by id: |difference| relative to the token's largest weight and to max(1, spread of its logits).
/// - hidden: the layer's update (hidden - input) relative to its largest value, after the roundings that the
/// residual
///   stream's storage allows. Relative to hidden itself, a small update could be wrong and still pass.
CheckResult check_layer(const model::ModelSpec& spec, const Tolerance& tolerance, std::int64_t layer,
                        std::span<const float> input, const LayerResult& expected, const LayerCapture& actual,
                        Routing routing = Routing::gate, Tokens tokens = Tokens::all);

/// Any tensor: max |difference| / max |expected|. `what` names it in the reason.
CheckResult check_values(const Tolerance& tolerance, const std::string& what, std::span<const float> expected,
                         std::span<const float> actual);

/// Sums counts; max_error, bound and origin are those of the part closest to (or farthest beyond) its bound;
/// reason is the first failing part's. It fails too when nothing was compared, or when fewer than half the
/// tokens were.
CheckResult combined(const std::string& kind, std::span<const CheckResult> parts);

}  // namespace eps::validate
