#include "backend/cuda/exchanges.hpp"

#include <algorithm>

namespace eps::backend::cuda {

Transport transport_of(const schedule::Schedule& schedule, bool one_host) {
    schedule::Transport kind = schedule.transport;
    if (kind == schedule::Transport::automatic)
        kind = one_host ? schedule::Transport::copy_engine : schedule::Transport::nccl;
    const bool has_ctas = kind == schedule::Transport::nccl;
    return {kind, has_ctas ? static_cast<int>(schedule.comm_ctas) : 0};
}

Exchanges::Exchanges(comm::Communicator& world, const placement::Placement& placement,
                     const std::vector<Transport>& transports, comm::cuda::DeviceWire& wire,
                     std::byte* memory, std::int64_t bytes, const std::function<void()>& while_waiting)
    : world_(world.duplicate()) {
    groups_ = split_into_lane_groups(*world_, placement);
    const bool needs_windows = std::ranges::any_of(transports, [](const Transport& transport) {
        return transport.kind == schedule::Transport::copy_engine;
    });
    if (needs_windows && world.size() > 1) {
        windows_ = std::make_unique<comm::cuda::Windows>(*world_);
        window_ = windows_->add(memory, bytes);
    }
    // Boundaries of even stages first on every rank, so that all come to them in one order.
    std::array<std::size_t, kNumExchangeLanes> order{kDispatch, kCombine, kTensor, kUpper, kLower};
    if (placement::position_of(placement, world.rank()).stage % 2 != 0) std::swap(order[3], order[4]);
    for (const Transport& transport : transports) {
        OfLanes& lanes = by_transport_[transport];
        for (const std::size_t i : order) {
            comm::Communicator* const group = groups_[i].communicator.get();
            if (group == nullptr || lanes[i] != nullptr) continue;
            const bool engines = windows_ && transport.kind == schedule::Transport::copy_engine;
            auto exchange = engines ? comm::cuda::copy_engine_exchange(*group, *windows_)
                                    : comm::cuda::nccl_exchange(*group, transport.num_ctas);
            lanes[i] =
                comm::cuda::over_wire(std::move(exchange), wire, *group, engines ? windows_.get() : nullptr);
            lanes[i]->while_waiting(while_waiting);
        }
    }
}

Exchanges::~Exchanges() {
    by_transport_.clear();
    if (windows_) windows_->remove(window_);
}

void Exchanges::give(const schedule::Lanes& lanes, const Transport& transport,
                     std::vector<LanePlace>& places) {
    OfLanes& exchanges = by_transport_.at(transport);
    const auto exchange = exchange_lanes(lanes);
    for (std::size_t i = 0; i < exchange.size(); ++i) {
        if (exchange[i] < 0) continue;
        LanePlace& place = places[at(exchange[i])];
        place.exchange = exchanges[i].get();
        place.peers = groups_[i].peers;
    }
}

void Exchanges::check() {
    for (auto& [transport, lanes] : by_transport_)
        for (auto& exchange : lanes)
            if (exchange) exchange->check();
}

}  // namespace eps::backend::cuda
