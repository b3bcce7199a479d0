#include "app/prediction.hpp"

#include "backend/expected.hpp"
#include "comm/collectives.hpp"
#include "model/cost.hpp"
#include "plan/print.hpp"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

namespace eps {

namespace {

std::string gib(std::int64_t bytes) {
    const auto value = static_cast<double>(bytes);
    return bytes >= (std::int64_t{1} << 30) ? fmt::format("{:.2f} GiB", value / 1073741824.0)
                                            : fmt::format("{:.2f} MiB", value / 1048576.0);
}

// The residual stream and the index arrays of one micro-batch: less than any pass takes.
double least_bytes(const config::RunConfig& config, const backend::Prompts& prompts) {
    const double per_token = static_cast<double>(config.model.hidden_size) * 2 + 8;
    return static_cast<double>(prompts.batch.num_tokens()) * per_token;
}

std::vector<std::int64_t> gather_numbers(comm::Communicator& world, std::vector<std::int64_t> mine) {
    const comm::Bytes all = comm::all_gather_bytes(world, std::as_bytes(std::span(mine)));
    std::vector<std::int64_t> numbers(all.size() / sizeof(std::int64_t));
    std::memcpy(numbers.data(), all.data(), all.size());
    return numbers;
}

// Bytes this rank sends to each world rank in one pass.
std::vector<std::int64_t> sent_bytes(const LiveCase& live) {
    const schedule::Tables& tables = live.runner->tables();
    const plan::RankPlan& plan = live.runner->plan();
    const placement::Placement& placement = tables.setup.placement;
    const std::int64_t self = tables.position.rank;
    std::vector<std::int64_t> bytes(static_cast<std::size_t>(placement.world()));
    const auto first_of = [&](plan::Group group) {
        if (group == plan::Group::tp) return placement::first_rank_of_tp_group(placement, tables.position);
        if (group == plan::Group::block) return placement::first_rank_of_block(placement, tables.position);
        return std::int64_t{0};
    };
    const auto count = [&](std::int64_t peer, std::int64_t rows, plan::BufferId buffer) {
        const plan::Buffer& of = plan.buffers[static_cast<std::size_t>(buffer)];
        if (peer != self) bytes[static_cast<std::size_t>(peer)] += rows * of.cols * bytes_of(of.dtype);
    };
    const auto count_all = [&](plan::Group group, Range transfers, plan::BufferId buffer) {
        for (std::int64_t i = transfers.begin; i < transfers.end; ++i) {
            const plan::Transfer& transfer = plan.transfers[static_cast<std::size_t>(i)];
            count(first_of(group) + transfer.peer, transfer.rows.size(), buffer);
        }
    };
    for (const plan::Op& op : plan.ops) {
        if (const auto* exchange = std::get_if<plan::AllToAll>(&op.args)) {
            count_all(exchange->group, exchange->sends, exchange->in);
        } else if (const auto* scatter = std::get_if<plan::ReduceScatter>(&op.args)) {
            count_all(scatter->group, scatter->sends, scatter->in);
        } else if (const auto* gather = std::get_if<plan::AllGather>(&op.args)) {
            count_all(gather->group, gather->sends, gather->buffer);
        } else if (const auto* send = std::get_if<plan::Send>(&op.args)) {
            count(send->peer, send->rows.rows.size(), send->rows.buffer);
        } else if (const auto* counts = std::get_if<plan::ExchangeCounts>(&op.args)) {
            for (std::int64_t peer = 0; peer < tables.block.num_ranks(); ++peer)
                count(first_of(plan::Group::block) + peer, counts->counts.rows.size(), counts->counts.buffer);
        }
    }
    return bytes;
}

double pass_flops(const config::RunConfig& config, DType dtype) {
    const auto& lengths = config.workload.sequence_lengths;
    switch (config.scope) {
        case schedule::Scope::model:
            return static_cast<double>(model::cost_of_model(config.model, lengths, dtype).total().flops);
        case schedule::Scope::layer:
            return static_cast<double>(model::cost_of_layers(config.model, lengths, dtype).total().flops);
        case schedule::Scope::moe:
            return static_cast<double>(
                model::cost_of_moe(config.model, workload::Batch(lengths).num_tokens(), dtype).total().flops);
    }
    throw Error(Exit::internal, "unknown scope");
}

std::string case_text(const config::RunConfig& config, const LiveCase& live,
                      const std::vector<std::int64_t>& memory, const std::vector<std::int64_t>& sent,
                      std::int64_t world_size) {
    const placement::Placement& placement = live.config.placement;
    std::string text =
        fmt::format("{}\n  placement: {}\n  {:.3f} GFLOP a pass\n", live.config.name,
                    placement::to_string(placement), pass_flops(config, live.config.dtype) / 1e9);
    text += "  rank  weights       buffers       peak          sent to rank 0, 1, ...\n";
    for (std::int64_t rank = 0; rank < world_size; ++rank) {
        const std::int64_t* of_rank = memory.data() + 3 * rank;
        const backend::PredictedMemory predicted{of_rank[0], of_rank[1], of_rank[2]};
        std::string links;
        for (std::int64_t peer = 0; peer < world_size; ++peer)
            links +=
                " " + (peer == rank ? "-" : gib(sent[static_cast<std::size_t>(rank * world_size + peer)]));
        text += fmt::format("  {:<4}  {:<12}  {:<12}  {:<12} {}\n", rank, gib(predicted.weights),
                            gib(predicted.buffers), gib(predicted.peak()), links);
    }
    return text;
}

}  // namespace

void check_resources(const config::RunConfig& config, const backend::Prompts& prompts,
                     const std::vector<CaseGroup>& groups, const Launch& launch) {
    const std::int64_t available = launch.backend->available_bytes();
    const std::string memory = launch.backend->memory_name();
    const auto refuse_beyond = [&](double needed, const std::string& what) {
        if (needed <= static_cast<double>(available)) return;
        throw Error(
            Exit::resource,
            fmt::format("{}: {} are needed on {}, which has {} available; use fewer layers or tokens, or "
                        "more hosts",
                        what, gib(static_cast<std::int64_t>(std::min(needed, 9e18))), memory,
                        gib(available)));
    };
    agree(*launch.world, [&] {
        refuse_beyond(least_bytes(config, prompts), "residual stream of this batch");
        for (const CaseGroup& group : groups)
            refuse_beyond(static_cast<double>(launch.backend->predict(runners_of(group)).weights),
                          "weights of one rank");
        for (const CaseGroup& group : groups)
            for (LiveCase* live : group) backend::lower_expected(prompts, *live->runner);
    });
    const std::vector<std::string> memories = comm::all_gather_strings(*launch.world, memory);
    for (const CaseGroup& group : groups) {
        const std::vector<std::int64_t> peaks =
            gather_numbers(*launch.world, {launch.backend->predict(runners_of(group)).peak()});
        double here = 0;
        for (std::size_t rank = 0; rank < peaks.size(); ++rank)
            if (memories[rank] == memory) here += static_cast<double>(peaks[rank]);
        agree(*launch.world, [&] {
            refuse_beyond(
                here, fmt::format("case {} and those that share its weights", group.front()->config.name));
        });
    }
}

std::string dry_run_text(const config::RunConfig& config, const std::vector<CaseGroup>& groups,
                         const Launch& launch) {
    const std::int64_t world_size = launch.world->size();
    std::string text = fmt::format(
        "{}: {} on {} ranks, {} tokens a pass; predicted, nothing was run\n"
        "memory: of all cases with the same placement and dtype together: they share weights and buffers\n",
        config.name, config.model.name, world_size,
        workload::Batch(config.workload.sequence_lengths).num_tokens());
    for (const CaseGroup& group : groups) {
        const backend::PredictedMemory memory = launch.backend->predict(runners_of(group));
        const auto all_memory =
            gather_numbers(*launch.world, {memory.weights, memory.buffers, memory.loading});
        for (LiveCase* live : group) {
            const auto all_sent = gather_numbers(*launch.world, sent_bytes(*live));
            text += "\n" + case_text(config, *live, all_memory, all_sent, world_size);
        }
    }
    return text;
}

std::string plan_text(const std::vector<CaseGroup>& groups, const Launch& launch) {
    std::string text;
    for (const CaseGroup& group : groups)
        for (LiveCase* live : group) {
            text += live->config.name + "\n";
            const auto plans = comm::all_gather_strings(*launch.world, plan::print(live->runner->plan()));
            for (std::size_t rank = 0; rank < plans.size(); ++rank)
                text += fmt::format("rank {}\n{}", rank, plans[rank]);
        }
    return text;
}

}  // namespace eps
