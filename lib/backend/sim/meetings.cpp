#include "backend/sim/meetings.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

namespace eps::backend::sim {

namespace {

std::int64_t total_bytes(const std::vector<Parcel>& parcels) {
    return std::transform_reduce(parcels.begin(), parcels.end(), std::int64_t{0}, std::plus<>(),
                                 [](const Parcel& parcel) { return parcel.bytes; });
}

}  // namespace

Meeting::Member& Meeting::of(std::int64_t rank) {
    const std::int64_t place = rank - ranks.front();  // groups are consecutive ranks, but for pairs of stages
    if (place >= 0 && place < std::ssize(ranks) && ranks[at(place)] == rank) return members[at(place)];
    return members[at(std::ranges::find(ranks, rank) - ranks.begin())];
}

Meetings::Arrival Meetings::arrive(plan::RankOp op, std::int64_t now_ns) {
    const plan::RankPlan& plan = *pass_.ranks[at(op.rank)].plan;
    std::vector<std::int64_t> ranks = members_of(pass_, op);
    const bool stages =
        std::holds_alternative<plan::Send>(op.op->args) || std::holds_alternative<plan::Receive>(op.op->args);
    const Series series{ranks.front(), ranks.back(), stages ? "" : plan.lanes[at(op.op->lane)].name};
    Meeting& meeting = meetings_[{series, num_arrived_[{series, op.rank}]++}];
    if (meeting.ranks.empty()) {
        meeting.members.resize(ranks.size());
        meeting.ranks = std::move(ranks);
    }
    Traffic traffic = traffic_of(plan, op, meeting.ranks);
    Arrival arrival;
    arrival.meeting = &meeting;
    arrival.own_bytes = traffic.own_bytes;

    // The next rank of the group first, as on the emulated wire.
    const auto next = std::ranges::find_if(traffic.sends, [&](const Parcel& p) { return p.rank > op.rank; });
    std::rotate(traffic.sends.begin(), next, traffic.sends.end());
    Meeting::Member& me = meeting.of(op.rank);
    me.wire_end_ns = std::max(me.wire_end_ns, now_ns);
    for (const Parcel& parcel : traffic.sends) {
        const Wires::Departure departure = wires_.leave(op.rank, parcel.rank, parcel.bytes, now_ns);
        me.wire_end_ns = std::max(me.wire_end_ns, departure.left_ns + departure.duration_ns);
        meeting.of(parcel.rank).incoming.push_back({op.rank, departure});
    }

    std::vector<std::int64_t> peers;
    for (const auto* parcels : {&traffic.sends, &traffic.receives})
        for (const Parcel& parcel : *parcels) peers.push_back(parcel.rank);
    std::ranges::sort(peers);
    peers.erase(std::unique(peers.begin(), peers.end()), peers.end());
    me.here = true;
    for (const std::int64_t rank : peers) {
        Meeting::Member& peer = meeting.of(rank);
        if (!peer.here) {
            ++me.num_missing;
        } else if (--peer.num_missing == 0) {
            receive(peer, rank);
            arrival.peers.push_back(rank);
        }
    }
    if (me.num_missing == 0) receive(me, op.rank);

    for (auto* parcels : {&traffic.sends, &traffic.receives}) {
        std::erase_if(*parcels, [&](const Parcel& p) { return wires_.between_hosts(op.rank, p.rank); });
        arrival.transfer_bytes = std::max(arrival.transfer_bytes, total_bytes(*parcels));
        arrival.num_messages = std::max(arrival.num_messages, std::ssize(*parcels));
    }
    return arrival;
}

void Meetings::receive(Meeting::Member& member, std::int64_t rank) {
    std::ranges::sort(member.incoming, {},
                      [](const Meeting::Incoming& i) { return std::pair(i.departure.left_ns, i.from); });
    for (const Meeting::Incoming& incoming : member.incoming)
        member.wire_end_ns =
            std::max(member.wire_end_ns, wires_.arrive(incoming.from, rank, incoming.departure));
    member.incoming = {};
}

}  // namespace eps::backend::sim
