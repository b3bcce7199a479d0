#include "backend/expected.hpp"

#include "schedule/check_input.hpp"

#include <map>

namespace eps::backend {

void lower_expected(const Prompts& prompts, PassRunner& runner) {
    const schedule::Tables& tables = runner.tables();
    const model::ModelSpec& spec = tables.spec();
    const std::int64_t first_layer = spec.first_moe_layer(), num_tokens = prompts.batch.num_tokens();
    std::unique_ptr<workload::ForcedRouting> uniform;
    if (prompts.forced == nullptr && first_layer >= 0)
        uniform = workload::make_forced_routing(workload::UniformRouting{}, spec, prompts.seed, {first_layer},
                                                num_tokens);
    // Layers that are routed alike are counted once.
    std::map<std::pair<std::int64_t, std::int64_t>, std::vector<std::int32_t>> known;
    std::vector<std::int32_t> ids;
    runner.lower_pass([&](std::int64_t layer, std::int64_t micro_batch) {
        const std::int64_t routed_as = uniform != nullptr ? first_layer : layer;
        std::vector<std::int32_t>& counts = known[{routed_as, micro_batch}];
        if (counts.empty()) {
            ids.resize(static_cast<std::size_t>(num_tokens * spec.num_experts_per_tok));
            (uniform != nullptr ? uniform : prompts.forced)->write_ids(routed_as, {0, num_tokens}, ids);
            counts =
                schedule::counts_of(tables, schedule::gate_choices(tables.setup, layer, micro_batch, ids));
        }
        return schedule::view_of(tables, counts);
    });
}

}  // namespace eps::backend
