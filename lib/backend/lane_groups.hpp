// The groups of ranks that the lanes of a rank exchange with: alike in all backends.
#pragma once

#include "comm/communicator.hpp"
#include "placement/placement.hpp"
#include "schedule/tables.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace eps::backend {

/// From a peer as the plan numbers it to the group's number of it.
struct PeerNumbers {
    std::int64_t first_world_rank = 0;  // with `modulus`: world rank r is (r - first_world_rank) mod modulus
    std::int64_t modulus = 0;           // 0: peers of the group, numbered alike

    std::int64_t number_of(std::int64_t peer) const {
        return modulus == 0 ? peer : ((peer - first_world_rank) % modulus + modulus) % modulus;
    }
};

struct LaneGroup {
    std::unique_ptr<comm::Communicator> communicator;  // null: the placement needs none
    PeerNumbers peers{};
};

/// The lanes that exchange, in the order of the arrays below.
enum ExchangeLane : std::size_t { kDispatch, kCombine, kTensor, kLower, kUpper, kNumExchangeLanes };

using LaneGroups = std::array<LaneGroup, kNumExchangeLanes>;

/// Collective over `world`.
LaneGroups split_into_lane_groups(comm::Communicator& world, const placement::Placement& placement);

/// Of each exchange lane the lane of a plan, < 0 where it has none.
std::array<plan::LaneId, kNumExchangeLanes> exchange_lanes(const schedule::Lanes& lanes);

}  // namespace eps::backend
