// The pass as data: which segment is lowered when, and when counts are awaited.
#include "schedule/lowering.hpp"

#include <algorithm>

namespace eps::schedule {

using plan::Segment;
using plan::SegmentKind;
using plan::Step;
using plan::StepKind;

namespace {

void add_layer(const Tables& tables, std::int64_t layer, std::int64_t micro_batch, std::vector<Step>& steps) {
    const auto lower = [&](SegmentKind kind) {
        steps.push_back({StepKind::lower, Segment{kind, layer, micro_batch}});
    };
    if (tables.setup.scope != Scope::moe) lower(SegmentKind::attention);
    if (!tables.spec().is_moe(layer)) {
        lower(SegmentKind::dense);
        return;
    }
    lower(SegmentKind::gate);
    if (!tables.setup.schedule.oracle)
        steps.push_back({StepKind::await_counts, Segment{SegmentKind::gate, layer, micro_batch}});
    lower(SegmentKind::experts);
}

}  // namespace

std::vector<Step> pass(const Tables& tables) {
    const PassSetup& setup = tables.setup;
    const bool first_stage = tables.position.stage == 0;
    const bool last_stage = tables.position.stage == setup.placement.pp - 1;
    const auto num_micro_batches = std::ssize(tables.micro_batches);
    const Range scope_layers = layers_of(setup);
    const Range layers{std::max(scope_layers.begin, tables.shards.layers.begin),
                       std::min(scope_layers.end, tables.shards.layers.end)};

    std::vector<Step> steps;
    const auto lower = [&](SegmentKind kind, std::int64_t m) {
        steps.push_back({StepKind::lower, Segment{kind, -1, m}});
    };
    // Receives are posted ahead, so that the rows of later micro-batches travel while earlier ones are
    // computed.
    for (std::int64_t m = 0; m < num_micro_batches && !first_stage; ++m) lower(SegmentKind::stage_in, m);
    for (std::int64_t m = 0; m < num_micro_batches; ++m) {
        if (first_stage && setup.scope == Scope::model) lower(SegmentKind::embed, m);
        for (std::int64_t layer = layers.begin; layer < layers.end; ++layer)
            add_layer(tables, layer, m, steps);
        if (last_stage && setup.scope == Scope::model) lower(SegmentKind::head, m);
        if (!last_stage) lower(SegmentKind::stage_out, m);
    }
    return steps;
}

}  // namespace eps::schedule
