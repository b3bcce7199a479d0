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

const Link* Wires::link_between(std::int64_t from, std::int64_t to) const {
    if (between_hosts(from, to)) return &network_->wire;
    return link_ ? &*link_ : nullptr;
}

Wires::Departure Wires::leave(std::int64_t from, std::int64_t to, std::int64_t bytes, std::int64_t now_ns) {
    const Link* link = link_between(from, to);
    if (link == nullptr) return {now_ns, 0};
    Port& port = (between_hosts(from, to) ? outside_ : inside_)[at(from)];
    const std::int64_t duration_ns = link->duration_ns(bytes);
    return {port.out.reserve(now_ns, duration_ns), duration_ns};
}

std::int64_t Wires::arrive(std::int64_t from, std::int64_t to, Departure departure) {
    const Link* link = link_between(from, to);
    if (link == nullptr) return departure.left_ns;
    Port& port = (between_hosts(from, to) ? outside_ : inside_)[at(to)];
    return port.in.reserve(departure.left_ns + link->latency_ns(), departure.duration_ns) +
           departure.duration_ns;
}

}  // namespace eps::backend::sim
