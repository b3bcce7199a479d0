#include "validate/pass_check.hpp"

#include "base/error.hpp"
#include "validate/arithmetic.hpp"

#include <cstring>

#include <fmt/format.h>

namespace eps::validate {
namespace {

bool same_bits(std::span<const float> a, std::span<const float> b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

}  // namespace

PassCheck::PassCheck(const Reference& reference, PassWork work)
    : reference_(reference), work_(std::move(work)) {}

CheckResult PassCheck::check(const PassCapture& capture, const Tolerance& tolerance) {
    const model::ModelSpec& spec = reference_.spec();
    if (static_cast<std::int64_t>(capture.input.size()) != work_.starts.back() * spec.hidden_size)
        throw Error(Exit::internal, fmt::format("{} values were captured as input rows of {} tokens",
                                                capture.input.size(), work_.starts.back()));
    const std::vector<std::int64_t> layers = layers_of(spec, work_.scope);
    if (capture.layers.size() != layers.size())
        throw Error(Exit::internal,
                    fmt::format("{} layers were captured of {}", capture.layers.size(), layers.size()));

    std::vector<CheckResult> parts;
    if (work_.scope == Scope::model)
        parts.push_back(
            check_values(exact_tolerance(), "embed", reference_.embed(work_.token_ids), capture.input));
    const std::vector<float>* input = &capture.input;
    for (std::size_t i = 0; i < layers.size(); ++i) {
        // Rows of a wrong number, or not finite, cannot be computed with; the failure that they are is
        // already noted.
        if (!parts.empty() && !parts.back().passed()) break;
        const auto result = layer_result(layers[i], *input);
        const Routing routing = work_.forced.contains(layers[i]) ? Routing::forced : Routing::gate;
        parts.push_back(check_layer(spec, tolerance, layers[i], *input, *result, capture.layers[i], routing));
        input = &capture.layers[i].hidden;
    }
    if (work_.scope == Scope::model && parts.back().passed())
        parts.push_back(check_head(*input, capture, tolerance));
    return combined("reference", parts);
}

std::shared_ptr<const LayerResult> PassCheck::layer_result(std::int64_t layer, std::span<const float> input) {
    constexpr std::size_t kMostRemembered = 4;
    std::vector<Known>& known = known_[layer];
    for (const Known& k : known)
        if (same_bits(k.input, input)) return k.result;

    const auto forced = work_.forced.find(layer);
    const ForcedIds ids = forced == work_.forced.end() ? ForcedIds() : ForcedIds(forced->second);
    auto result = std::make_shared<const LayerResult>(
        work_.scope == Scope::moe ? reference_.mlp_layer(layer, input, ids)
                                  : reference_.decoder_layer(layer, work_.starts, input, ids));
    ++num_layers_computed_;
    if (known.size() == kMostRemembered) known.erase(known.begin());
    known.push_back({{input.begin(), input.end()}, result});
    return result;
}

CheckResult PassCheck::check_head(std::span<const float> hidden, const PassCapture& capture,
                                  const Tolerance& tolerance) const {
    std::vector<std::int64_t> last_rows;
    for (std::size_t s = 0; s + 1 < work_.starts.size(); ++s) last_rows.push_back(work_.starts[s + 1] - 1);
    const std::vector<float> rows = gathered(hidden, reference_.spec().hidden_size, last_rows);
    return check_values(tolerance, "logits_last", reference_.head(rows).logits, capture.logits);
}

}  // namespace eps::validate
