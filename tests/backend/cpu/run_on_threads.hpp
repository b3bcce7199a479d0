// Whole passes over the loopback communicator: what the executor's tests have in common.
#pragma once

#include "backend/capture.hpp"
#include "backend/cpu/executor.hpp"
#include "backend/inputs.hpp"
#include "backend/pass_runner.hpp"
#include "checkpoint/synthetic.hpp"
#include "comm/collectives.hpp"
#include "comm/loopback.hpp"
#include "placement/placement.hpp"

#include <cstdint>
#include <vector>

namespace eps::backend {

/// Small and uneven: 15 experts in 3 groups, 3 heads, one dense layer, odd widths.
inline model::ModelSpec uneven_spec() {
    model::ModelSpec spec;
    spec.name = "uneven";
    spec.vocab_size = 37;
    spec.hidden_size = 24;
    spec.num_layers = spec.num_hidden_layers = 3;
    spec.num_attention_heads = 3;
    spec.q_lora_rank = 10;
    spec.kv_lora_rank = 8;
    spec.qk_nope_head_dim = 6;
    spec.qk_rope_head_dim = 4;
    spec.v_head_dim = 5;
    spec.yarn = model::Yarn{.factor = 40, .mscale = 0.707, .mscale_all_dim = 0.707};
    spec.intermediate_size = 19;
    spec.moe_intermediate_size = 7;
    spec.n_routed_experts = 15;
    spec.n_shared_experts = 2;
    spec.first_k_dense_replace = 1;
    spec.num_experts_per_tok = 3;
    spec.group_limited = true;
    spec.n_group = 3;
    spec.topk_group = 2;
    spec.routed_scaling_factor = 2.5;
    return spec;
}

struct PassOutputs {
    std::vector<std::vector<float>> hidden;      // per layer of the scope, [tokens, hidden]
    std::vector<std::vector<std::int32_t>> ids;  // per MoE layer of the scope
    std::vector<float> logits;
};

struct ThreadedRun {
    model::ModelSpec spec = uneven_spec();
    placement::Placement placement;
    schedule::Schedule schedule;
    schedule::Scope scope = schedule::Scope::model;
    DType dtype = DType::f32;
    std::vector<std::int64_t> lengths = {7, 1, 12};
    workload::Routing routing = workload::GateRouting{};
    const kernels::Kernels* kernels = &kernels::reference_kernels();
    int num_passes = 1;  // the last one is captured
};

/// Runs the pass on placement.world() threads and puts the outputs together.
inline PassOutputs run_on_threads(const ThreadedRun& run) {
    Prompts prompts(run.lengths, 1);
    prompts.token_ids = workload::make_token_ids("random", prompts.batch, run.spec.vocab_size, 1);
    std::vector<std::int64_t> moe_layers;
    for (std::int64_t i = 0; i < run.spec.num_layers; ++i)
        if (run.spec.is_moe(i)) moe_layers.push_back(i);
    prompts.forced =
        workload::make_forced_routing(run.routing, run.spec, 1, moe_layers, prompts.batch.num_tokens());
    const auto layout = placement::lay_out_tokens(run.placement, run.lengths, run.schedule.micro_batches);
    const schedule::PassSetup setup{.spec = &run.spec,
                                    .layout = &layout,
                                    .placement = run.placement,
                                    .schedule = run.schedule,
                                    .scope = run.scope,
                                    .dtype = run.dtype,
                                    .forced_routing = prompts.forced != nullptr};
    const auto source = checkpoint::synthetic_weights(run.spec, 1);
    Gathered gathered;
    comm::run_on_loopback(run.placement.world(), [&](comm::Communicator& world) {
        cpu::MemoryCount memory;
        PassRunner runner(setup, world.rank());
        const cpu::Weights weights(runner.tables().weights, run.dtype, *source, *run.kernels, memory);
        cpu::CpuExecutor executor({.world = &world,
                                   .weights = &weights,
                                   .kernels = run.kernels,
                                   .memory = &memory,
                                   .threads = 1,
                                   .board = nullptr,
                                   .on_failure = {}},
                                  run.placement);
        executor.bind(runner.plan(), runner.tables());
        Inputs inputs(prompts, runner);
        inputs.write(executor);
        if (run.schedule.oracle) {  // counts come from a pass that does not know them
            schedule::PassSetup asking = setup;
            asking.schedule.oracle = false;
            PassRunner first(asking, world.rank());
            executor.bind(first.plan(), first.tables());
            Inputs first_inputs(prompts, first);
            first_inputs.write(executor);
            first_inputs.write_rows(executor);
            first.run(executor, false);
            executor.bind(runner.plan(), runner.tables());
            runner.know_counts(executor, first.counts());
        }
        Capture capture(runner.tables(), executor, [&](Tensor tensor, std::int64_t) {
            const std::int64_t rows =
                tensor == Tensor::logits ? prompts.batch.num_sequences() : prompts.batch.num_tokens();
            return std::vector<Range>{{0, rows}};
        });
        for (int pass = 0; pass < run.num_passes; ++pass) {
            inputs.write_rows(executor);
            const bool last = pass + 1 == run.num_passes;
            runner.run(executor, false,
                       last ? [&](const plan::Segment& s) { capture.observe(s); } : PassRunner::Observer{});
        }
        for (const comm::Bytes& piece : comm::gather_bytes(world, 0, capture.bytes())) gathered.add(piece);
    });
    PassOutputs outputs;
    const Range all{0, prompts.batch.num_tokens()}, layers = schedule::layers_of(setup);
    for (std::int64_t layer = layers.begin; layer < layers.end; ++layer) {
        outputs.hidden.push_back(gathered.floats(Tensor::hidden, layer, all, run.spec.hidden_size));
        if (run.spec.is_moe(layer))
            outputs.ids.push_back(gathered.ints(Tensor::topk_ids, layer, all, run.spec.num_experts_per_tok));
    }
    if (run.scope == schedule::Scope::model)
        outputs.logits =
            gathered.floats(Tensor::logits, -1, {0, prompts.batch.num_sequences()}, run.spec.vocab_size);
    return outputs;
}

}  // namespace eps::backend
