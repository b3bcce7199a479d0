#include "plan/check.hpp"

#include "base/error.hpp"
#include "model/cost.hpp"
#include "plan/print.hpp"

#include <algorithm>
#include <map>

#include <fmt/format.h>

namespace eps::plan {

std::string name_op(const PassUnderCheck& pass, std::int64_t rank, const Op& op) {
    const RankPlan& plan = *pass.ranks[at(rank)].plan;
    return fmt::format("rank {}, lane {}, op {} ({}; {})", rank, plan.lanes[at(op.lane)].name, op.id,
                       name_of(op.args), to_string(plan.segments[at(op.segment)]));
}

std::int64_t predicted_bytes(const RankPlan& plan) {
    std::int64_t bytes = 0;
    for (const Buffer& buffer : plan.buffers) bytes += buffer.bytes();
    return bytes;
}

std::int64_t check_memory(const PassUnderCheck& pass) {
    std::int64_t num_buffers = 0;
    for (std::int64_t rank = 0; rank < std::ssize(pass.ranks); ++rank) {
        const RankPlan& plan = *pass.ranks[at(rank)].plan;
        num_buffers += std::ssize(plan.buffers);
        const std::int64_t bytes = predicted_bytes(plan);
        if (bytes <= pass.bytes_per_rank) continue;
        const Buffer& largest = *std::ranges::max_element(plan.buffers, {}, &Buffer::bytes);
        throw Error(
            Exit::resource,
            fmt::format("R6: rank {} needs {} bytes of {}; the largest buffer is {} with {} rows of {} bytes",
                        rank, bytes, pass.bytes_per_rank, largest.name, largest.rows,
                        largest.cols * bytes_of(largest.dtype)));
    }
    return num_buffers;
}

std::int64_t check_support(const PassUnderCheck& pass) {
    std::int64_t num_ops = 0;
    for (std::int64_t rank = 0; rank < std::ssize(pass.ranks); ++rank)
        for (const Op& op : pass.ranks[at(rank)].plan->ops) {
            ++num_ops;
            if (!pass.supported.test(op.args.index()))
                throw Error(Exit::internal, fmt::format("R7: {}: the executor does not know this kind",
                                                        name_op(pass, rank, op)));
        }
    return num_ops;
}

std::int64_t check_flops(const PassUnderCheck& pass) {
    std::int64_t num_gemms = 0;
    std::map<std::int64_t, std::vector<std::int64_t>> flops_of_layer;  // per rank
    for (std::int64_t rank = 0; rank < std::ssize(pass.ranks); ++rank) {
        const RankPlan& plan = *pass.ranks[at(rank)].plan;
        for (const Op& op : plan.ops) {
            const auto* gemm = std::get_if<ExpertGemm>(&op.args);
            if (gemm == nullptr) continue;
            ++num_gemms;
            const std::int64_t rows =
                plan.numbers[at(gemm->offsets.end - 1)] - plan.numbers[at(gemm->offsets.begin)];
            auto& of_rank = flops_of_layer[plan.segments[at(op.segment)].layer];
            of_rank.resize(pass.ranks.size());
            of_rank[at(rank)] +=
                2 * rows * plan.buffers[at(gemm->in)].cols * plan.buffers[at(gemm->out)].cols;
        }
    }
    const std::int64_t expected =
        model::expert_flops(*pass.spec) * pass.num_tokens * pass.spec->num_experts_per_tok;
    for (const auto& [layer, of_rank] : flops_of_layer) {
        std::int64_t flops = 0;
        for (const std::int64_t f : of_rank) flops += f;
        if (flops != expected)
            throw Error(
                Exit::internal,
                fmt::format("R8: layer {}: the experts' GEMMs are {} FLOPs (by rank: {}), the model needs {}",
                            layer, flops, fmt::join(of_rank, ", "), expected));
    }
    if (std::ssize(flops_of_layer) != (expected > 0 ? pass.num_moe_layers : 0))
        throw Error(Exit::internal, fmt::format("R8: experts compute in {} layers, {} layers have experts",
                                                flops_of_layer.size(), pass.num_moe_layers));
    return num_gemms;
}

std::int64_t check_all(const PassUnderCheck& pass) {
    const std::int64_t num_ops = check_shape(pass);
    check_writers(pass);
    check_order(pass);
    check_exchanges(pass);
    check_rows(pass);
    check_memory(pass);
    check_support(pass);
    check_flops(pass);
    return num_ops;
}

}  // namespace eps::plan
