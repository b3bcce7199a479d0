#include "backend/sim/wires.hpp"

#include "base/range.hpp"

namespace eps::backend::sim {

Wires::Wires(const Cluster& cluster, std::int64_t num_ranks)
    : link_(cluster.link),
      network_(cluster.times->calibration().network),
      inside_(at(num_ranks)),
      outside_(at(num_ranks)) {}

bool Wires::between_hosts(std::int64_t a, std::int64_t b) const {
    return network_ && a / network_->ranks_per_host != b / network_->ranks_per_host;
}

Wires::Times Wires::carry(std::int64_t from, std::int64_t to, std::int64_t bytes, std::int64_t now_ns) {
    const bool outside = between_hosts(from, to);
    if (!outside && !link_) return {now_ns, now_ns};
    const Link& link = outside ? network_->wire : *link_;
    std::vector<Port>& ports = outside ? outside_ : inside_;
    const std::int64_t duration_ns = link.duration_ns(bytes);
    const std::int64_t left_ns = ports[at(from)].out.reserve(now_ns, duration_ns);
    const std::int64_t came_ns = ports[at(to)].in.reserve(left_ns + link.latency_ns(), duration_ns);
    return {left_ns + duration_ns, came_ns + duration_ns};
}

}  // namespace eps::backend::sim
