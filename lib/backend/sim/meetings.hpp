// Exchanges among simulated ranks: who has come, whom they wait for, when the wires are done.
#pragma once

#include "backend/sim/traffic.hpp"
#include "backend/sim/wires.hpp"
#include "plan/check.hpp"

#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <vector>

namespace eps::backend::sim {

/// One exchange: an op of each member.
struct Meeting {
    struct Incoming {
        std::int64_t from;
        Wires::Departure departure;
    };
    struct Member {
        bool here = false;
        std::int64_t num_missing = 0;    // of those it exchanges messages with
        std::int64_t wire_end_ns = 0;    // its sends have left, its receives have arrived
        std::vector<Incoming> incoming;  // not yet received: it is not here, or waits for others
    };
    std::vector<std::int64_t> ranks;  // of the world
    std::vector<Member> members;      // beside them

    Member& of(std::int64_t rank);
};

class Meetings {
  public:
    /// All outlive it.
    Meetings(const plan::PassUnderCheck& pass, Wires& wires) : pass_(pass), wires_(wires) {}

    /// What of an arrival takes time at the arriving rank, and whom it may have set going.
    struct Arrival {
        Meeting* meeting = nullptr;
        std::int64_t transfer_bytes = 0;  // sent inside the host, or received, whichever is more
        std::int64_t num_messages = 0;    // likewise
        std::int64_t own_bytes = 0;
        std::vector<std::int64_t> peers;  // that were here before
    };
    /// The next op of its rank in that exchange has begun; its messages are on the wire.
    Arrival arrive(plan::RankOp op, std::int64_t now_ns);

  private:
    // As on the emulated wire: once all are here, in the order in which they left.
    void receive(Meeting::Member& member, std::int64_t rank);

    // First and last member, lane ("" between two stages), rank: how many of these have come.
    using Series = std::tuple<std::int64_t, std::int64_t, std::string>;

    const plan::PassUnderCheck& pass_;
    Wires& wires_;
    std::map<std::pair<Series, std::int64_t>, std::int64_t> num_arrived_;
    std::map<std::pair<Series, std::int64_t>, Meeting> meetings_;
};

}  // namespace eps::backend::sim
