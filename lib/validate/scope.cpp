#include "validate/scope.hpp"

#include "base/error.hpp"
#include "model/cost.hpp"

#include <numeric>

namespace eps::validate {

std::vector<std::int64_t> layers_of(const model::ModelSpec& spec, Scope scope) {
    if (scope == Scope::moe) {
        if (spec.first_moe_layer() < 0)
            throw Error(Exit::usage, "scope moe needs a MoE layer among the layers that are built");
        return {spec.first_moe_layer()};
    }
    std::vector<std::int64_t> layers(static_cast<std::size_t>(spec.num_layers));
    std::iota(layers.begin(), layers.end(), 0);
    return layers;
}

double pass_flops(const model::ModelSpec& spec, Scope scope,
                  const std::vector<std::int64_t>& sequence_lengths) {
    const auto flops = [](const model::ModelCost& cost) { return static_cast<double>(cost.total().flops); };
    switch (scope) {
        case Scope::model:
            return flops(model::cost_of_model(spec, sequence_lengths, DType::f32));
        case Scope::layer:
            return flops(model::cost_of_layers(spec, sequence_lengths, DType::f32));
        case Scope::moe: {
            const std::int64_t num_tokens =
                std::accumulate(sequence_lengths.begin(), sequence_lengths.end(), std::int64_t{0});
            return flops(model::cost_of_moe(spec, num_tokens, DType::f32));
        }
    }
    throw Error(Exit::internal, "unknown scope");
}

Kind choose_kind(const model::ModelSpec& spec, Scope scope,
                 const std::vector<std::int64_t>& sequence_lengths) {
    return pass_flops(spec, scope, sequence_lengths) <= kMaxReferenceFlops ? Kind::reference : Kind::spot;
}

}  // namespace eps::validate
