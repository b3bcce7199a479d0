// The check of a whole pass against the reference: layer by layer, each from the rows that the run itself put
// into it, so that errors do not pile up.
#pragma once

#include "validate/check.hpp"
#include "validate/reference.hpp"
#include "validate/scope.hpp"

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <vector>

namespace eps::validate {

/// What all cases of a run compute.
struct PassWork {
    Scope scope = Scope::model;
    std::vector<std::int64_t> starts;                          // sequence s is rows [starts[s], starts[s+1])
    std::vector<std::int32_t> token_ids;                       // scope model
    std::map<std::int64_t, std::vector<std::int32_t>> forced;  // by layer: [T, top_k]; none: the gate decides
};

/// What one case stored, as f32 rows in batch order.
struct PassCapture {
    std::vector<float> input;  // [T, hidden_size] entering the first layer: embedding rows in scope model
    std::vector<LayerCapture> layers;  // those of layers_of, in that order
    std::vector<float> logits;         // scope model: [sequences, vocab_size] of last positions
};

/// Remembers what it computed: cases that put the same bits into a layer share one result.
class PassCheck {
  public:
    /// `reference` must outlive this object.
    PassCheck(const Reference& reference, PassWork work);

    CheckResult check(const PassCapture& capture, const Tolerance& tolerance);

    /// Layers computed so far, for tests and for the curious.
    std::int64_t num_layers_computed() const { return num_layers_computed_; }

  private:
    struct Known {
        std::vector<float> input;
        std::shared_ptr<const LayerResult> result;
    };
    std::shared_ptr<const LayerResult> layer_result(std::int64_t layer, std::span<const float> input);
    CheckResult check_head(std::span<const float> hidden, const PassCapture& capture,
                           const Tolerance& tolerance) const;

    const Reference& reference_;
    PassWork work_;
    std::map<std::int64_t, std::vector<Known>> known_;
    std::int64_t num_layers_computed_ = 0;
};

}  // namespace eps::validate
