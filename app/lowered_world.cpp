#include "app/lowered_world.hpp"

#include <algorithm>

namespace eps {

LoweredWorld::LoweredWorld(const schedule::PassSetup& setup, const backend::Prompts& prompts) {
    const std::int64_t num_tokens = prompts.batch.num_tokens();
    const Range layers = schedule::layers_of(setup);
    std::vector<std::int32_t> ids(static_cast<std::size_t>(num_tokens * setup.spec->num_experts_per_tok));
    for (std::int64_t layer = layers.begin; layer < layers.end; ++layer) {
        if (!setup.spec->is_moe(layer)) continue;
        prompts.forced->write_ids(layer, {0, num_tokens}, ids);
        for (std::int64_t m = 0; m < setup.schedule.micro_batches; ++m)
            choices_.push_back(schedule::gate_choices(setup, layer, m, ids));
    }
    for (std::int64_t rank = 0; rank < setup.placement.world(); ++rank) {
        auto& runner = *runners_.emplace_back(std::make_unique<backend::PassRunner>(setup, rank));
        const schedule::Tables& tables = runner.tables();
        runner.lower_pass([&](std::int64_t layer, std::int64_t micro_batch) {
            std::vector<std::int32_t>& counts = counts_[{first_rank_alike(tables), layer, micro_batch}];
            if (counts.empty()) {
                const auto of_gate = std::ranges::find_if(choices_, [&](const plan::GateChoices& choice) {
                    return choice.layer == layer && choice.micro_batch == micro_batch;
                });
                counts = schedule::counts_of(tables, *of_gate);
            }
            return schedule::view_of(tables, counts);
        });
    }
}

std::int64_t LoweredWorld::first_rank_alike(const schedule::Tables& tables) {
    return tables.replicated ? tables.position.rank
                             : placement::first_rank_of_block(tables.setup.placement, tables.position);
}

plan::PassUnderCheck LoweredWorld::pass() const {
    std::vector<schedule::LoweredRank> lowered;
    for (const auto& runner : runners_) lowered.push_back({&runner->tables(), &runner->plan()});
    plan::PassUnderCheck pass = schedule::pass_under_check(lowered);
    pass.gates = choices_;
    return pass;
}

std::vector<RankFigures> LoweredWorld::figures() const {
    std::vector<RankFigures> all;
    for (const auto& runner : runners_) {
        const schedule::Tables& tables = runner->tables();
        std::int64_t weight_bytes = 0;
        for (const plan::Buffer& buffer : runner->plan().buffers)
            if (buffer.kind == plan::BufferKind::weight) weight_bytes += buffer.bytes();
        RankFigures& figures =
            all.emplace_back(figures_of(tables, weight_bytes, plan::predicted_bytes(runner->plan())));
        for (const auto& [key, counts] : counts_)
            if (std::get<0>(key) == first_rank_alike(tables))
                add_rows(tables, std::get<1>(key), schedule::view_of(tables, counts), figures);
    }
    return all;
}

}  // namespace eps
