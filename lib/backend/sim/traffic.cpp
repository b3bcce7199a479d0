#include "backend/sim/traffic.hpp"

#include "plan/fields.hpp"

#include <algorithm>

namespace eps::backend::sim {

namespace {

std::int64_t bytes_of_rows(const plan::RankPlan& plan, plan::BufferId buffer, std::int64_t rows) {
    const plan::Buffer& of = plan.buffers[at(buffer)];
    return rows * of.cols * bytes_of(of.dtype);
}

/// The transfers of collectives, through the list of fields.
struct Transfers : plan::IgnoredFields {
    const plan::RankPlan& plan;
    std::int64_t self;
    std::span<const std::int64_t> members;
    Traffic& traffic;

    Transfers(const plan::RankPlan& of, std::int64_t rank, std::span<const std::int64_t> group, Traffic& out)
        : plan(of), self(rank), members(group), traffic(out) {}

    void sends(const char*, Range transfers, plan::BufferId buffer) const {
        add(transfers, buffer, traffic.sends, &traffic.own_bytes);
    }
    void receives(const char*, Range transfers, plan::BufferId buffer) const {
        add(transfers, buffer, traffic.receives, nullptr);
    }

    void add(Range transfers, plan::BufferId buffer, std::vector<Parcel>& parcels,
             std::int64_t* own_bytes) const {
        for (std::int64_t i = transfers.begin; i < transfers.end; ++i) {
            const plan::Transfer& transfer = plan.transfers[at(i)];
            const std::int64_t bytes = bytes_of_rows(plan, buffer, transfer.rows.size());
            const std::int64_t rank = members[at(transfer.peer)];
            if (bytes == 0) continue;
            if (rank != self) {
                parcels.push_back({rank, bytes});
            } else if (own_bytes != nullptr) {
                *own_bytes += bytes;
            }
        }
    }
};

}  // namespace

Traffic traffic_of(const plan::RankPlan& plan, plan::RankOp op, std::span<const std::int64_t> members) {
    Traffic traffic;
    const plan::OpArgs& args = op.op->args;
    if (const auto* send = std::get_if<plan::Send>(&args)) {
        traffic.sends = {{send->peer, bytes_of_rows(plan, send->rows.buffer, send->rows.rows.size())}};
    } else if (const auto* receive = std::get_if<plan::Receive>(&args)) {
        traffic.receives = {
            {receive->peer, bytes_of_rows(plan, receive->rows.buffer, receive->rows.rows.size())}};
    } else if (const auto* counts = std::get_if<plan::ExchangeCounts>(&args)) {
        const std::int64_t bytes = bytes_of_rows(plan, counts->counts.buffer, counts->counts.rows.size());
        for (const std::int64_t rank : members)
            if (rank != op.rank) traffic.sends.push_back({rank, bytes});
        traffic.receives = traffic.sends;
        traffic.own_bytes = bytes;
    } else {
        plan::for_each_field(args, Transfers(plan, op.rank, members, traffic));
    }
    return traffic;
}

}  // namespace eps::backend::sim
