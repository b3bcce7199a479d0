// Where work buffers lie: those that share memory are never needed at once.
#include "backend/cuda/rooms.hpp"
#include "backend/expected.hpp"
#include "model/spec_json.hpp"
#include "schedule/strategies.hpp"
#include "tests/catch.hpp"

#include <algorithm>
#include <set>

using namespace eps;
using namespace eps::backend;

namespace {

bool share_memory(const cuda::Room& a, const cuda::Room& b) {
    return a.offset < b.offset + b.rows * b.row_bytes && b.offset < a.offset + a.rows * a.row_bytes;
}

/// The segments, by number, that use a buffer on the compute lane alone and write it before they read it.
/// Empty: other segments or lanes use it too.
std::set<std::int64_t> segments_of(const plan::RankPlan& plan, plan::BufferId buffer) {
    std::set<std::int64_t> written;
    for (const plan::Op& op : plan.ops)
        for (const plan::Access access : {plan::Access::read, plan::Access::write})
            for (std::int64_t u = op.uses.begin; u < op.uses.end; ++u) {
                const plan::BufferUse& use = plan.uses[at(u)];
                if (use.buffer != buffer || use.access != access) continue;
                if (plan.lanes[at(op.lane)].exchange) return {};
                if (access == plan::Access::read && !written.contains(op.segment)) return {};
                if (access == plan::Access::write) written.insert(op.segment);
            }
    return written;
}

/// Buffers that lie one over the other may do so. Counts them.
void require_apart_or_alone(const PassRunner& runner, const cuda::Rooms& rooms, std::int64_t& num_shared) {
    const plan::RankPlan& plan = runner.plan();
    for (std::size_t a = 0; a < plan.buffers.size(); ++a)
        for (std::size_t b = 0; b < a; ++b) {
            const plan::Buffer &first = plan.buffers[a], &second = plan.buffers[b];
            if (first.kind != plan::BufferKind::work || second.kind != plan::BufferKind::work) continue;
            if (!share_memory(rooms.of(first), rooms.of(second))) continue;
            CAPTURE(first.name, second.name);
            const auto of_first = segments_of(plan, static_cast<plan::BufferId>(a)),
                       of_second = segments_of(plan, static_cast<plan::BufferId>(b));
            // Where the expected load uses only one of them there is nothing to see of the other.
            if (first.rows > 0) CHECK(!of_first.empty());
            if (second.rows > 0) CHECK(!of_second.empty());
            for (const std::int64_t segment : of_first) CHECK(!of_second.contains(segment));
            ++num_shared;
        }
}

}  // namespace

TEST_CASE("a pass that knows its counts has room for the pass that finds them") {
    const model::ModelSpec spec = model::load_preset("tiny", "{}", 3);
    const Prompts prompts({5, 3}, 1);
    schedule::PassSetup setup{
        .spec = &spec,
        .layout = nullptr,
        .placement = {.attention_dp = 2, .ep = 2},
        .schedule = {.chunk_by = schedule::ChunkBy::expert, .chunks = 2, .overlap = true},
        .scope = schedule::Scope::model,
        .dtype = DType::bf16};
    const auto layout = placement::lay_out_tokens(setup.placement, prompts.batch.lengths, 1);
    setup.layout = &layout;
    PassRunner asking(setup, 0);
    lower_expected(prompts, asking);
    setup.schedule.oracle = true;
    PassRunner knowing(setup, 0);
    lower_expected(prompts, knowing);
    const cuda::Rooms rooms({&knowing}, 1.25);
    std::int64_t num_checked = 0;
    for (const plan::Buffer& buffer : asking.plan().buffers) {
        if (buffer.kind != plan::BufferKind::work) continue;
        CAPTURE(buffer.name);
        CHECK(rooms.of(buffer).rows >= buffer.rows);
        ++num_checked;
    }
    CHECK(num_checked > 10);
}

TEST_CASE("buffers that lie one over the other are used by different segments of the compute lane") {
    const model::ModelSpec spec = model::load_preset("tiny", "{}", 3);
    const Prompts prompts({5, 3, 64, 9}, 1);
    for (const schedule::Strategy& strategy : schedule::strategies())
        for (const std::int64_t world : {1, 2, 3, 4}) {
            std::int64_t num_shared = 0;
            for (std::int64_t rank = 0; rank < world; ++rank) {
                CAPTURE(strategy.name, world, rank);
                const placement::Placement placement = strategy.placement(world, "ep");
                const schedule::Schedule schedule = default_schedule(strategy, placement);
                const auto layout =
                    placement::lay_out_tokens(placement, prompts.batch.lengths, schedule.micro_batches);
                const schedule::PassSetup setup{.spec = &spec,
                                                .layout = &layout,
                                                .placement = placement,
                                                .schedule = schedule,
                                                .scope = schedule::Scope::model,
                                                .dtype = DType::bf16};
                PassRunner runner(setup, rank);
                lower_expected(prompts, runner);
                require_apart_or_alone(runner, cuda::Rooms({&runner}, 1.25), num_shared);
            }
            CHECK(num_shared > 0);
        }
}
