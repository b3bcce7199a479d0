// Spot checks, at any size: a few tokens of a layer recomputed on the host from the rows that entered it.
// Attention of one token needs the layer's input rows of its sequence up to and with that token (its prefix);
// it is computed in the latent space (keys and values are never expanded), so a prefix row costs two small
// projections.
#pragma once

#include "validate/check.hpp"
#include "validate/reference.hpp"
#include "validate/scope.hpp"

#include <cstdint>
#include <map>
#include <span>
#include <vector>

namespace eps::validate {

/// The token at `position` of `sequence`, in `layer`.
struct SpotSample {
    std::int64_t layer = 0;
    std::int64_t sequence = 0;
    std::int64_t position = 0;
    friend bool operator==(const SpotSample&, const SpotSample&) = default;
};

/// FLOPs of recomputing one token: attention over a prefix of position + 1 rows (not in scope moe) and its
/// MLP half.
double spot_flops(const model::ModelSpec& spec, Scope scope, const SpotSample& sample);

/// Samples whose sum of spot_flops stays within `max_flops`; the first is taken in any case. They go round
/// layers (first MoE layer, last, first, then the others) and, in long steps, round sequences, alternating
/// between a token near the start of its sequence and its last one, which is dearer: where that takes more
/// than half of `max_flops`, the last one that does not. At most `max_samples`, none twice, in order of
/// layers.
std::vector<SpotSample> choose_spot_samples(const model::ModelSpec& spec, Scope scope,
                                            std::span<const std::int64_t> starts, double max_flops,
                                            std::int64_t max_samples = 64);

/// attn_out [prefixes, hidden_size] of the last row of each prefix: `prefixes[i]` holds the layer's input
/// rows [position + 1, hidden_size] of one sequence. Reads kv_b_proj head by head, once for all prefixes.
std::vector<float> spot_attention(const Reference& reference, std::int64_t layer,
                                  std::span<const std::vector<float>> prefixes);

/// The layer's result for the last row of each prefix, one row per prefix. In scope moe each prefix is that
/// row alone. `forced` [prefixes, top_k].
LayerResult spot_layer(const Reference& reference, Scope scope, std::int64_t layer,
                       std::span<const std::vector<float>> prefixes, ForcedIds forced = {});

/// What was captured for one sample.
struct SpotCapture {
    SpotSample sample;
    std::vector<float> prefix;         // see spot_layer
    LayerCapture actual;               // of the sampled token: one row
    std::vector<std::int32_t> forced;  // its forced ids; empty: the gate decides
};

/// What spot_layer gave for each layer, kept for the next case: most enter their layers with the same bits.
class SpotResults {
  public:
    SpotResults(const Reference& reference, Scope scope) : reference_(reference), scope_(scope) {}

    const Reference& reference() const { return reference_; }
    /// As spot_layer; good until the next call for this layer.
    const LayerResult& of(std::int64_t layer, const std::vector<std::vector<float>>& prefixes,
                          const std::vector<std::int32_t>& forced);

  private:
    struct Known {
        std::vector<std::vector<float>> prefixes;
        std::vector<std::int32_t> forced;
        LayerResult result;
    };
    const Reference& reference_;
    Scope scope_;
    std::map<std::int64_t, Known> known_;  // by layer
};

/// Recomputes, where `expected` does not know them, and compares all captures, layer by layer.
CheckResult check_spots(SpotResults& expected, const Tolerance& tolerance,
                        std::span<const SpotCapture> captures);

/// About `count` entries of the logits of one last token, spread over the vocabulary: every share of it meets
/// some. `hidden` is the last layer's row, `logits` [vocab_size].
CheckResult spot_logits(const Reference& reference, const Tolerance& tolerance, std::span<const float> hidden,
                        std::span<const float> logits, std::int64_t count = 1024);

}  // namespace eps::validate
