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
    const placement::Position position = placement::position_of(placement, world.rank());
    if (!placement.rows_replicated()) {
        groups_[kDispatch].communicator =
            world_->split(placement::first_rank_of_block(placement, position), world.rank());
        groups_[kCombine].communicator = groups_[kDispatch].communicator->duplicate();
    }
    if (placement.attention_tp > 1)
        groups_[kTensor].communicator =
            world_->split(placement::first_rank_of_tp_group(placement, position), world.rank());
    if (placement.pp > 1) {
        // A boundary between two stages is a group of both. Boundaries below even and odd stages do not share
        // ranks.
        const std::int64_t size = placement.stage_size();
        const auto pair_up = [&](std::int64_t first_stage) {
            const std::int64_t pair = (position.stage - first_stage + 2) / 2;
            return Group{world_->split(pair, world.rank()), first_stage * size, 2 * size};
        };
        Group even = pair_up(0), odd = pair_up(1);
        const bool even_stage = position.stage % 2 == 0;
        groups_[kUpper] = std::move(even_stage ? even : odd);
        groups_[kLower] = std::move(even_stage ? odd : even);
    }
    const bool needs_windows = std::ranges::any_of(transports, [](const Transport& transport) {
        return transport.kind == schedule::Transport::copy_engine;
    });
    if (needs_windows && world.size() > 1) {
        windows_ = std::make_unique<comm::cuda::Windows>(*world_);
        window_ = windows_->add(memory, bytes);
    }
    // Boundaries of even stages first on every rank, so that all come to them in one order.
    std::array<std::size_t, kNumLanes> order{kDispatch, kCombine, kTensor, kUpper, kLower};
    if (position.stage % 2 != 0) std::swap(order[3], order[4]);
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
    const auto use = [&](plan::LaneId lane, Lane which) {
        if (lane < 0) return;
        LanePlace& place = places[at(lane)];
        place.exchange = exchanges[which].get();
        place.first_world_rank = groups_[which].first_world_rank;
        place.modulus = groups_[which].modulus;
    };
    use(lanes.dispatch, kDispatch);
    use(lanes.combine, kCombine);
    use(lanes.tensor, kTensor);
    use(lanes.stage_in, kLower);
    use(lanes.stage_out, kUpper);
}

void Exchanges::check() {
    for (auto& [transport, lanes] : by_transport_)
        for (auto& exchange : lanes)
            if (exchange) exchange->check();
}

}  // namespace eps::backend::cuda
