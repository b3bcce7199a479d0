// Every strategy over threads computes what one rank computes; what promises equal bits has them.
#include "tests/backend/cpu/run_on_threads.hpp"
#include "tests/catch.hpp"

#include <algorithm>
#include <cmath>

using namespace eps;
using namespace eps::backend;
using placement::Placement;
using schedule::ChunkBy;
using schedule::Combine;
using schedule::Schedule;
using schedule::Scope;

namespace {

double largest_error(const std::vector<float>& a, const std::vector<float>& b) {
    REQUIRE(a.size() == b.size());
    REQUIRE(!a.empty());
    double error = 0, scale = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        error = std::max(error, static_cast<double>(std::abs(a[i] - b[i])));
        scale = std::max(scale, static_cast<double>(std::abs(b[i])));
    }
    return error / scale;
}

void require_close(const PassOutputs& a, const PassOutputs& b) {
    for (std::size_t layer = 0; layer < b.hidden.size(); ++layer)
        CHECK(largest_error(a.hidden[layer], b.hidden[layer]) < 1e-5);
    CHECK(a.ids == b.ids);
    if (!b.logits.empty()) CHECK(largest_error(a.logits, b.logits) < 1e-5);
}

void require_same(const PassOutputs& a, const PassOutputs& b) {
    CHECK(a.hidden == b.hidden);
    CHECK(a.ids == b.ids);
    CHECK(a.logits == b.logits);
}

ThreadedRun with(Placement placement, Schedule schedule = {}) {
    ThreadedRun run;
    run.placement = placement;
    run.schedule = schedule;
    return run;
}

Placement ep(std::int64_t world) {
    return {.attention_dp = world, .ep = world};
}
Placement tp_ep(std::int64_t world) {
    return {.attention_tp = world, .ep = world};
}

}  // namespace

TEST_CASE("every placement computes what one rank computes") {
    const PassOutputs one = run_on_threads(with({}));
    for (std::int64_t world : {2, 3, 4, 8}) {
        CAPTURE(world);
        require_close(run_on_threads(with(ep(world))), one);
        require_close(run_on_threads(with({.attention_dp = world, .edp = world})), one);
        require_close(run_on_threads(with({.attention_tp = world, .etp = world})), one);
        require_close(run_on_threads(with(tp_ep(world))), one);
        require_close(run_on_threads(with({.pp = world}, {.micro_batches = 1})), one);
        require_close(run_on_threads(with({.pp = world}, {.micro_batches = 3})), one);
        require_close(run_on_threads(with({.pp = world}, {.micro_batches = 5})), one);
    }
}

TEST_CASE("mixed placements compute what one rank computes") {
    const PassOutputs one = run_on_threads(with({}));
    const std::vector<Placement> mixed = {
        {.attention_tp = 2, .attention_dp = 2, .ep = 4},
        {.attention_tp = 2, .attention_dp = 2, .etp = 2, .ep = 2},
        {.attention_tp = 2, .attention_dp = 2, .etp = 2, .ep = 1, .edp = 2},
        {.attention_dp = 4, .etp = 2, .ep = 2},
        {.attention_dp = 4, .etp = 4},
        {.attention_tp = 4, .edp = 4},
        {.attention_tp = 4, .ep = 2, .edp = 2},
        {.pp = 2, .attention_dp = 2, .ep = 2},
        {.pp = 2, .attention_tp = 2, .etp = 2},
        {.pp = 2, .attention_tp = 2, .attention_dp = 2, .etp = 2, .ep = 2},
        {.pp = 3, .attention_tp = 2, .ep = 2},
        {.attention_tp = 8, .etp = 8},
        {.attention_dp = 8, .etp = 8},
    };
    for (const Placement& placement : mixed) {
        CAPTURE(placement::to_string(placement));
        require_close(run_on_threads(with(placement, {.micro_batches = placement.pp})), one);
        if (!placement.rows_replicated())
            require_close(run_on_threads(with(placement, {.chunk_by = ChunkBy::expert,
                                                          .chunks = 3,
                                                          .micro_batches = placement.pp,
                                                          .overlap = true,
                                                          .combine = Combine::per_chunk,
                                                          .dedup = false})),
                          one);
    }
}

TEST_CASE("chunks, lanes and order do not change a bit") {
    for (const bool tensor_parallel : {false, true})
        for (const std::int64_t world : {1, 2, 3, 4}) {
            // one rank of tp_ep is rows replicated: nothing travels
            const Placement placement = tensor_parallel ? tp_ep(world) : ep(world);
            if (placement.rows_replicated()) continue;
            for (const bool dedup : {true, false}) {
                const PassOutputs serial = run_on_threads(with(placement, {.dedup = dedup}));
                require_same(run_on_threads(with(placement, {.overlap = true, .dedup = dedup})), serial);
                for (const std::int64_t chunks : {1, 2, 3, 5, 20})
                    for (const bool overlap : {false, true}) {
                        CAPTURE(world, chunks, overlap, dedup);
                        Schedule schedule{.chunk_by = ChunkBy::expert,
                                          .chunks = chunks,
                                          .overlap = overlap,
                                          .dedup = dedup};
                        require_same(run_on_threads(with(placement, schedule)), serial);
                        schedule.combine = Combine::per_chunk;
                        require_close(run_on_threads(with(placement, schedule)), serial);
                    }
            }
        }
}

TEST_CASE("scopes, forced routing and known counts") {
    for (const Scope scope : {Scope::model, Scope::layer, Scope::moe}) {
        const std::vector<workload::Routing> kinds = {workload::GateRouting{}, workload::UniformRouting{},
                                                      workload::ZipfRouting{1.2},
                                                      workload::HotRouting{0, 2, 0.5}};
        for (const workload::Routing& routing : kinds) {
            CAPTURE(static_cast<int>(scope), workload::kind_of(routing));
            ThreadedRun run = with({});
            run.scope = scope;
            run.routing = routing;
            const PassOutputs one = run_on_threads(run);
            run.placement = ep(4);
            const PassOutputs serial = run_on_threads(run);
            require_close(serial, one);
            run.schedule = {.chunk_by = ChunkBy::expert, .chunks = 2, .overlap = true, .oracle = true};
            require_same(run_on_threads(run), serial);
            run.placement = tp_ep(3);
            require_close(run_on_threads(run), one);
        }
    }
}

TEST_CASE("passes repeat bit for bit, ranks may be idle") {
    ThreadedRun run = with(ep(4), {.chunk_by = ChunkBy::expert, .chunks = 4, .overlap = true});
    run.lengths = {3, 2};  // two ranks without a token
    const PassOutputs once = run_on_threads(run);
    run.num_passes = 4;
    require_same(run_on_threads(run), once);
    run.placement = tp_ep(4);
    run.lengths = {1};  // three ranks own no row
    require_close(run_on_threads(run), [&] {
        ThreadedRun one = with({});
        one.lengths = run.lengths;
        return run_on_threads(one);
    }());
}

TEST_CASE("models without shared experts, without q-LoRA, with biases and tied embeddings") {
    for (int variant = 0; variant < 4; ++variant) {
        CAPTURE(variant);
        ThreadedRun run = with({});
        if (variant == 0) run.spec.n_shared_experts = 0;
        if (variant == 1) run.spec.q_lora_rank = 0;
        if (variant == 2) run.spec.attention_bias = true;
        if (variant == 3) run.spec.tie_word_embeddings = true;
        const PassOutputs one = run_on_threads(run);
        for (const Placement& placement : {ep(3), tp_ep(4), Placement{.attention_tp = 4, .etp = 4}}) {
            run.placement = placement;
            require_close(run_on_threads(run), one);
        }
    }
}
