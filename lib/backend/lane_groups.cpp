#include "backend/lane_groups.hpp"

#include <utility>

namespace eps::backend {

LaneGroups split_into_lane_groups(comm::Communicator& world, const placement::Placement& placement) {
    LaneGroups groups;
    const placement::Position position = placement::position_of(placement, world.rank());
    if (!placement.rows_replicated()) {
        groups[kDispatch].communicator =
            world.split(placement::first_rank_of_block(placement, position), world.rank());
        groups[kCombine].communicator = groups[kDispatch].communicator->duplicate();
    }
    if (placement.attention_tp > 1)
        groups[kTensor].communicator =
            world.split(placement::first_rank_of_tp_group(placement, position), world.rank());
    if (placement.pp > 1) {
        // A boundary between two stages is a group of both. Boundaries below even and odd stages do not share
        // ranks.
        const std::int64_t size = placement.stage_size();
        const auto pair_up = [&](std::int64_t first_stage) {
            const std::int64_t pair = (position.stage - first_stage + 2) / 2;
            return LaneGroup{world.split(pair, world.rank()), {first_stage * size, 2 * size}};
        };
        LaneGroup even = pair_up(0), odd = pair_up(1);
        const bool even_stage = position.stage % 2 == 0;
        groups[kUpper] = std::move(even_stage ? even : odd);
        groups[kLower] = std::move(even_stage ? odd : even);
    }
    return groups;
}

std::array<plan::LaneId, kNumExchangeLanes> exchange_lanes(const schedule::Lanes& lanes) {
    return {lanes.dispatch, lanes.combine, lanes.tensor, lanes.stage_in, lanes.stage_out};
}

}  // namespace eps::backend
