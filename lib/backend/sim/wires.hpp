// The wires of a modelled cluster: each rank's own, and its way to other hosts.
#pragma once

#include "backend/sim/simulate.hpp"
#include "comm/wire.hpp"

#include <cstdint>
#include <optional>
#include <vector>

namespace eps::backend::sim {

class Wires {
  public:
    Wires(const Cluster& cluster, std::int64_t num_ranks);

    /// Whether a message between them takes its time from a wire alone: it leaves the host.
    bool between_hosts(std::int64_t a, std::int64_t b) const;

    /// When a message that is posted at `now_ns` leaves (its first byte), and how long it keeps a wire busy;
    /// without a wire it takes no time here.
    struct Departure {
        std::int64_t left_ns = 0;
        std::int64_t duration_ns = 0;
    };
    Departure leave(std::int64_t from, std::int64_t to, std::int64_t bytes, std::int64_t now_ns);
    /// When the last byte of that message has arrived.
    std::int64_t arrive(std::int64_t from, std::int64_t to, Departure departure);

  private:
    struct Port {
        comm::BusyTimes out, in;
    };
    const Link* link_between(std::int64_t from, std::int64_t to) const;  // nullptr: no wire

    std::optional<Link> link_;
    std::optional<cost::Network> network_;
    std::vector<Port> inside_, outside_;  // per rank
};

}  // namespace eps::backend::sim
