#include "backend/cuda/rooms.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

#include <fmt/format.h>

namespace eps::backend::cuda {

namespace {

// Buffers whose rows are counted only when the gates have chosen.
bool is_routed(const schedule::Tables& tables, plan::BufferId id) {
    const schedule::WorkBuffers& work = tables.buffers;
    const std::array routed{work.arrived_slots,  work.expert_order, work.reduce_starts, work.reduce_index,
                            work.reduce_weights, work.home_index,   work.outgoing,      work.arrived,
                            work.expert_in,      work.expert_up,    work.expert_act,    work.expert_out,
                            work.going_home,     work.came_home};
    return !tables.replicated && std::ranges::find(routed, id) != routed.end();
}

// The only segments that use a buffer, where these are of one kind and write it on the compute lane before
// they read it there. Lanes keep their order, so buffers of different kinds are never needed at once.
std::optional<plan::SegmentKind> only_user(const schedule::WorkBuffers& work, plan::BufferId id) {
    const auto is_one_of = [id](auto... ids) { return ((id == ids) || ...); };
    if (is_one_of(work.q_latent, work.q_latent_normed, work.q, work.kv_a, work.kv_latent, work.kv,
                  work.attended))
        return plan::SegmentKind::attention;
    if (is_one_of(work.mlp_up, work.mlp_act)) return plan::SegmentKind::dense;
    if (is_one_of(work.shared_up, work.shared_act)) return plan::SegmentKind::gate;
    if (is_one_of(work.expert_in, work.expert_up, work.expert_act, work.expert_out))
        return plan::SegmentKind::experts;
    return std::nullopt;
}

std::int64_t rows_with_margin(const schedule::Tables& tables, std::int64_t rows, double load_margin) {
    const routing::BlockShape& block = tables.block;
    const std::int64_t most =
        tables.setup.layout->sequence_starts.back() * block.top_k * block.num_shards + 1;
    const auto wanted = static_cast<std::int64_t>(std::ceil(static_cast<double>(rows) * load_margin));
    return std::max(rows, std::min(most, wanted + Rooms::kSpareRows));
}

}  // namespace

std::string room_name(const plan::Buffer& buffer) {
    return fmt::format("{}/{}/{}", buffer.name, name_of(buffer.dtype), buffer.cols);
}

Rooms::Rooms(const Cases& cases, double load_margin) {
    std::map<const Room*, std::optional<plan::SegmentKind>> users;
    for (const PassRunner* runner : cases) {
        const schedule::Tables& tables = runner->tables();
        const bool known = tables.setup.forced_routing;
        const auto& buffers = runner->plan().buffers;
        for (std::size_t i = 0; i < buffers.size(); ++i) {
            const plan::Buffer& buffer = buffers[i];
            if (buffer.kind != plan::BufferKind::work) continue;
            const bool routed = !known && is_routed(tables, static_cast<plan::BufferId>(i));
            Room& room = rooms_[room_name(buffer)];
            users[&room] = only_user(tables.buffers, static_cast<plan::BufferId>(i));
            room.row_bytes = buffer.cols * bytes_of(buffer.dtype);
            room.rows = std::max(room.rows,
                                 routed ? rows_with_margin(tables, buffer.rows, load_margin) : buffer.rows);
            // Where counts are known (an oracle), they come from a pass that exchanges them.
            if (!tables.replicated && static_cast<plan::BufferId>(i) == tables.buffers.all_counts)
                room.rows = std::max(room.rows, tables.block.num_ranks() * tables.block.num_experts);
        }
    }
    // One kind's rooms lie over those of the others.
    std::map<plan::SegmentKind, Layout> shared;
    for (auto& [name, room] : rooms_) {
        const auto user = users.at(&room);
        room.offset = (user ? shared[*user] : layout_).take(room.rows * room.row_bytes);
    }
    std::int64_t most = 0;
    for (const auto& [kind, layout] : shared) most = std::max(most, layout.bytes());
    const std::int64_t begin = layout_.take(most);
    for (auto& [name, room] : rooms_)
        if (users.at(&room)) room.offset += begin;
}

const Room& Rooms::of(const plan::Buffer& buffer) const {
    const auto found = rooms_.find(room_name(buffer));
    if (found == rooms_.end())
        throw Error(Exit::internal, fmt::format("no room was planned for the buffer {}", buffer.name));
    return found->second;
}

}  // namespace eps::backend::cuda
