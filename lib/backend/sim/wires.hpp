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

    struct Times {
        std::int64_t left_ns;     // the last byte, from the sender
        std::int64_t arrived_ns;  // the last byte, at the receiver
    };
    /// A message that is posted at `now_ns`; without a wire it takes no time here.
    Times carry(std::int64_t from, std::int64_t to, std::int64_t bytes, std::int64_t now_ns);

  private:
    struct Port {
        comm::BusyTimes out, in;
    };
    std::optional<Link> link_;
    std::optional<cost::Network> network_;
    std::vector<Port> inside_, outside_;  // per rank
};

}  // namespace eps::backend::sim
