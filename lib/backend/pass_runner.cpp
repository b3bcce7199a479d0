#include "backend/pass_runner.hpp"

#include "base/error.hpp"
#include "schedule/check_input.hpp"

#include <algorithm>
#include <functional>

namespace eps::backend {

PassRunner::PassRunner(const schedule::PassSetup& setup, std::int64_t rank)
    : tables_(schedule::make_tables(setup, rank, builder_)),
      lowering_(tables_, builder_),
      steps_(schedule::pass(tables_)) {
    const Range layers = schedule::layers_of(setup);
    for (std::int64_t m = 0; m < std::ssize(tables_.micro_batches); ++m)
        for (std::int64_t layer = layers.begin; layer < layers.end; ++layer)
            if (setup.spec->is_moe(layer) && tables_.shards.layers.contains(layer))
                counts_.push_back({layer, m, {}});
}

GateCounts& PassRunner::counts_of(const plan::Segment& segment) {
    const auto found = std::ranges::find_if(counts_, [&](const GateCounts& c) {
        return c.layer == segment.layer && c.micro_batch == segment.micro_batch;
    });
    if (found == counts_.end()) throw Error(Exit::internal, "a segment of experts without a gate");
    return *found;
}

void PassRunner::run(Executor& executor, bool traced, const Observer& observe) {
    builder_.begin_pass();
    executor.begin_pass(traced);
    for (const plan::Step& step : steps_) {
        if (step.kind == plan::StepKind::await_counts) {
            await_counts(executor, step.segment);
            continue;
        }
        if (const std::int64_t most = lowering_.most_entries(); !builder_.has_room(most)) {
            executor.finish();  // the executor reads the arrays that are about to move
            builder_.make_room(most);
        }
        auto begin = std::ssize(builder_.plan().ops);
        const auto submit = [&] {
            const auto end = std::ssize(builder_.plan().ops);
            executor.submit({begin, end});
            begin = end;
        };
        const bool experts = step.segment.kind == plan::SegmentKind::experts;
        lowering_.lower(
            step.segment,
            experts ? schedule::view_of(tables_, counts_of(step.segment).counts) : routing::CountsView{},
            std::ref(submit));
        submit();
        if (!observe) continue;
        executor.finish();
        observe(step.segment);
    }
    executor.finish();
}

void PassRunner::await_counts(Executor& executor, const plan::Segment& segment) {
    // The op that brings them is the last writer of the buffer in the gate's segment.
    const plan::BufferId buffer = tables_.replicated ? tables_.buffers.counts : tables_.buffers.all_counts;
    const auto& plan = builder_.plan();
    plan::OpId writer = -1;
    for (auto op = plan.ops.rbegin(); op != plan.ops.rend() && writer < 0; ++op)
        for (std::int64_t u = op->uses.begin; u < op->uses.end; ++u) {
            const plan::BufferUse& use = plan.uses[static_cast<std::size_t>(u)];
            if (use.buffer == buffer && use.access == plan::Access::write) writer = op->id;
        }
    executor.wait(writer);
    std::vector<std::int32_t>& counts = counts_of(segment).counts;
    const std::int64_t fields = routing::num_count_fields(tables_.per_chunk);
    const std::int64_t num_sources = tables_.replicated ? 1 : tables_.block.num_ranks();
    const std::int64_t rows = num_sources * tables_.spec().n_routed_experts;
    counts.resize(static_cast<std::size_t>(rows * fields));  // once: the first pass is for validation
    executor.read({buffer, {0, rows}},
                  {reinterpret_cast<std::byte*>(counts.data()), DType::i32, rows, fields, fields});
}

void PassRunner::lower_pass(const CountsOf& counts_of) {
    builder_.begin_pass();
    for (const plan::Step& step : steps_) {
        if (step.kind == plan::StepKind::await_counts) continue;
        const bool experts = step.segment.kind == plan::SegmentKind::experts;
        lowering_.lower(step.segment, experts ? counts_of(step.segment.layer, step.segment.micro_batch)
                                              : routing::CountsView{});
    }
}

void PassRunner::know_counts(Executor& executor, const std::vector<GateCounts>& counts) {
    counts_ = counts;
    if (tables_.replicated) return;
    const std::int64_t fields = routing::num_count_fields(tables_.per_chunk);
    for (GateCounts& c : counts_) {
        const plan::BufferId buffer = tables_.micro_batches[static_cast<std::size_t>(c.micro_batch)]
                                          .known_counts[static_cast<std::size_t>(c.layer)];
        const std::int64_t rows = std::ssize(c.counts) / fields;
        executor.write({reinterpret_cast<std::byte*>(c.counts.data()), DType::i32, rows, fields, fields},
                       {buffer, {0, rows}});
    }
}

}  // namespace eps::backend
