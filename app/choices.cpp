// What "auto" came to, in all and layer by layer, and predicted times beside measured ones.
#include "app/results.hpp"
#include "comm/collectives.hpp"
#include "cost/choose.hpp"
#include "schedule/check_input.hpp"

#include <algorithm>
#include <cstring>
#include <set>

#include <fmt/format.h>

namespace eps {

namespace {

// One chunk's GEMMs on one rank: plain data, for ranks to send.
struct ComputedChunk {
    std::int64_t layer, micro_batch, kind, num_rows, num_experts;
};

std::vector<ComputedChunk> computed_chunks(const plan::RankPlan& plan) {
    std::vector<ComputedChunk> chunks;
    for (const plan::Op& op : plan.ops) {
        const auto* gemm = std::get_if<plan::ExpertGemm>(&op.args);
        if (gemm == nullptr || gemm->which != plan::ExpertWeight::gate_up) continue;
        const plan::Segment& segment = plan.segments[at(op.segment)];
        chunks.push_back({segment.layer, segment.micro_batch, static_cast<std::int64_t>(gemm->kind),
                          plan.numbers[at(gemm->offsets.end - 1)] - plan.numbers[at(gemm->offsets.begin)],
                          gemm->experts.size()});
    }
    return chunks;
}

std::vector<report::ChosenKind> kinds_of(const std::vector<ComputedChunk>& chunks,
                                         const plan::Segment& segment) {
    std::vector<report::ChosenKind> kinds;
    for (const plan::GemmKind kind : {plan::GemmKind::group, plan::GemmKind::dense}) {
        report::ChosenKind chosen{.kind = kind == plan::GemmKind::group ? "group" : "dense"};
        for (const ComputedChunk& chunk : chunks) {
            if (chunk.layer != segment.layer || chunk.micro_batch != segment.micro_batch ||
                chunk.kind != static_cast<std::int64_t>(kind))
                continue;
            const double rows = static_cast<double>(chunk.num_rows) / static_cast<double>(chunk.num_experts);
            chosen.least_rows = chosen.num_chunks == 0 ? rows : std::min(chosen.least_rows, rows);
            chosen.most_rows = std::max(chosen.most_rows, rows);
            ++chosen.num_chunks;
        }
        if (chosen.num_chunks > 0) kinds.push_back(chosen);
    }
    return kinds;
}

// From the counts being known (with an oracle: from the first slots that are sent) to the last sum, over the
// ranks of rank 0's block.
double measured_seconds(const std::vector<trace::Span>& spans, const plan::Segment& segment, bool oracle,
                        std::int64_t num_ranks) {
    std::int64_t known_ns = 0, first_ns = 0, end_ns = 0;
    for (const trace::Span& span : spans) {
        if (span.layer != segment.layer || span.micro_batch != segment.micro_batch || span.rank >= num_ranks)
            continue;
        const std::string_view op = plan::kOpNames[at(span.kind)];
        if (op == "exchange_counts") known_ns = std::max(known_ns, span.end_ns);
        if (op == "all_to_all" && (first_ns == 0 || span.begin_ns < first_ns)) first_ns = span.begin_ns;
        if (op == "unpack_sum") end_ns = std::max(end_ns, span.end_ns);
    }
    return static_cast<double>(end_ns - (oracle ? first_ns : known_ns)) * 1e-9;
}

// GEMM kinds in the plan, e.g. "dense", "dense group" or "".
std::string gemm_kinds(const plan::RankPlan& plan) {
    std::set<std::string> kinds;
    for (const plan::Op& op : plan.ops)
        if (const auto* gemm = std::get_if<plan::ExpertGemm>(&op.args))
            kinds.insert(gemm->kind == plan::GemmKind::dense ? "dense" : "group");
    return fmt::format("{}", fmt::join(kinds, " "));
}

// The usual number of chunks of an experts segment: the middle one of all; 1 where nothing travels.
std::int64_t usual_chunks(const LiveCase& live) {
    const plan::RankPlan& plan = live.runner->plan();
    const std::int64_t num_parts = live.runner->tables().block.num_parts;
    std::vector<std::int64_t> numbers;
    for (const plan::Op& op : plan.ops)
        if (const auto* maps = std::get_if<plan::MapRows>(&op.args); maps && !maps->chunk_bounds.empty())
            numbers.push_back(maps->chunk_bounds.size() / num_parts - 1);
    std::ranges::sort(numbers);
    return numbers.empty() ? 1 : numbers[numbers.size() / 2];
}

}  // namespace

std::string gemm_kinds_of_all(comm::Communicator& world, const plan::RankPlan& plan) {
    std::set<std::string> kinds;
    for (const std::string& of_rank : comm::all_gather_strings(world, gemm_kinds(plan)))
        if (!of_rank.empty()) kinds.insert(of_rank);
    return kinds.size() <= 1 ? fmt::format("{}", fmt::join(kinds, "")) : "mixed";
}

std::string chosen_of(const LiveCase& live, const std::string& kinds, const backend::Backend& backend) {
    const schedule::Schedule& asked = live.config.schedule;
    std::vector<std::string> chosen;
    if (asked.chunk_by == schedule::ChunkBy::expert && !asked.chunks)
        chosen.push_back(fmt::format(R"("chunks": {})", usual_chunks(live)));
    if (asked.gemm == schedule::GemmChoice::automatic && !kinds.empty())
        chosen.push_back(
            fmt::format(R"("gemm": "{}")", kinds.find(' ') == std::string::npos ? kinds : "mixed"));
    const std::string transport = backend.transport(asked);
    const auto& lanes = live.runner->plan().lanes;
    if (asked.transport == schedule::Transport::automatic && !transport.empty() &&
        std::ranges::any_of(lanes, &plan::Lane::exchange))
        chosen.push_back(fmt::format(R"("transport": "{}")", transport));
    return fmt::format("{{{}}}", fmt::join(chosen, ", "));
}

void add_choices(comm::Communicator& world, const LiveCase& live, const std::vector<trace::Span>& spans,
                 report::Result& result) {
    const plan::RankPlan& plan = live.runner->plan();
    const auto mine = computed_chunks(plan);
    std::vector<ComputedChunk> chunks;
    for (const comm::Bytes& bytes : comm::gather_bytes(world, 0, std::as_bytes(std::span(mine)))) {
        const std::size_t before = chunks.size();
        chunks.resize(before + bytes.size() / sizeof(ComputedChunk));
        std::memcpy(chunks.data() + before, bytes.data(), bytes.size());
    }
    const schedule::Tables& tables = live.runner->tables();
    if (world.rank() != 0 || tables.replicated) return;
    const schedule::Schedule& schedule = tables.setup.schedule;
    std::optional<cost::Chooser> chooser;
    if (live.times != nullptr) chooser.emplace(*live.times, schedule::expert_layer(tables));
    for (const plan::Op& op : plan.ops) {
        const auto* maps = std::get_if<plan::MapRows>(&op.args);
        if (maps == nullptr) continue;
        const plan::Segment& segment = plan.segments[at(op.segment)];
        const std::vector<std::int64_t> bounds(plan.numbers.begin() + maps->chunk_bounds.begin,
                                               plan.numbers.begin() + maps->chunk_bounds.end);
        const routing::Chunks divided(tables.block, bounds);
        report::ExpertChoice choice{.layer = segment.layer,
                                    .micro_batch = segment.micro_batch,
                                    .num_chunks = divided.size(),
                                    .experts_per_chunk = {},
                                    .kinds = kinds_of(chunks, segment)};
        for (std::int64_t c = 0; c < divided.size(); ++c)
            choice.experts_per_chunk.push_back(divided.of(tables.position.ep, c).size());
        const auto gate = std::ranges::find_if(live.runner->counts(), [&](const backend::GateCounts& counts) {
            return counts.layer == segment.layer && counts.micro_batch == segment.micro_batch;
        });
        if (chooser && gate != live.runner->counts().end()) {
            const cost::Prediction predicted =
                chooser->predict(schedule::view_of(tables, gate->counts), bounds);
            choice.predicted_seconds = schedule.overlap ? predicted.overlapped_s : predicted.serial_s;
        }
        if (const double seconds =
                measured_seconds(spans, segment, schedule.oracle, tables.block.num_ranks());
            seconds > 0)
            choice.measured_seconds = seconds;
        result.expert_choices.push_back(std::move(choice));
    }
}

}  // namespace eps
