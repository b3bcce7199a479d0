#include "app/live_case.hpp"

#include "backend/expected.hpp"

#include <algorithm>

namespace eps {

std::unique_ptr<backend::Prompts> make_prompts(const config::RunConfig& config) {
    auto prompts = std::make_unique<backend::Prompts>(config.workload.sequence_lengths, config.workload.seed);
    if (config.scope == schedule::Scope::model)
        prompts->token_ids = workload::make_token_ids(config.workload.tokens, prompts->batch,
                                                      config.model.vocab_size, config.workload.seed);
    std::vector<std::int64_t> layers;
    for (std::int64_t layer = 0; layer < config.model.num_layers; ++layer)
        if (config.model.is_moe(layer) && (config.scope != schedule::Scope::moe || layers.empty()))
            layers.push_back(layer);
    prompts->forced = workload::make_forced_routing(
        config.workload.routing, config.model, config.workload.seed, layers, prompts->batch.num_tokens());
    return prompts;
}

schedule::PassSetup pass_setup(const config::RunConfig& config, const LiveCase& live, bool forced_routing) {
    return {.spec = &config.model,
            .layout = &live.layout,
            .placement = live.config.placement,
            .schedule = live.config.schedule,
            .scope = config.scope,
            .dtype = live.config.dtype,
            .forced_routing = forced_routing,
            .link = live.config.link,
            .times = live.times};
}

std::vector<std::unique_ptr<LiveCase>> make_cases(const config::RunConfig& config,
                                                  const backend::Prompts& prompts, std::int64_t rank) {
    std::vector<std::unique_ptr<LiveCase>> cases;
    for (const config::Case& asked : config.cases) {
        auto live = std::make_unique<LiveCase>();
        live->config = asked;
        live->layout = placement::lay_out_tokens(asked.placement, config.workload.sequence_lengths,
                                                 asked.schedule.micro_batches);
        live->runner =
            std::make_unique<backend::PassRunner>(pass_setup(config, *live, prompts.forced != nullptr), rank);
        cases.push_back(std::move(live));
    }
    return cases;
}

void choose_by(const std::map<DType, cost::OpTimes>& times, const config::RunConfig& config,
               const backend::Prompts& prompts, std::vector<std::unique_ptr<LiveCase>>& cases) {
    for (auto& live : cases) {
        live->times = &times.at(live->config.dtype);
        const std::int64_t rank = live->runner->tables().position.rank;
        live->runner =
            std::make_unique<backend::PassRunner>(pass_setup(config, *live, prompts.forced != nullptr), rank);
        backend::lower_expected(prompts, *live->runner);
    }
}

backend::Cases runners_of(const CaseGroup& group) {
    backend::Cases cases;
    for (const LiveCase* live : group) cases.push_back(live->runner.get());
    return cases;
}

std::vector<CaseGroup> make_groups(const std::vector<std::unique_ptr<LiveCase>>& cases) {
    std::vector<CaseGroup> groups;
    for (const auto& live : cases) {
        const auto same = std::ranges::find_if(groups, [&](const CaseGroup& group) {
            const config::Case& first = group.front()->config;
            return first.placement == live->config.placement && first.dtype == live->config.dtype;
        });
        if (same != groups.end()) {
            same->push_back(live.get());
        } else {
            groups.push_back({live.get()});
        }
    }
    return groups;
}

}  // namespace eps
