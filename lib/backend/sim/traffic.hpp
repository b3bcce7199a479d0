// What one exchange op of one rank puts on the wire.
#pragma once

#include "plan/check.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace eps::backend::sim {

/// Bytes to or from a rank of the world.
struct Parcel {
    std::int64_t rank = 0;
    std::int64_t bytes = 0;
};

/// Parcels that are not empty, by ascending rank, one per message; those to oneself apart.
struct Traffic {
    std::vector<Parcel> sends, receives;
    std::int64_t own_bytes = 0;
};

/// `members`: world ranks of the op's group (plan::members_of).
Traffic traffic_of(const plan::RankPlan& plan, plan::RankOp op, std::span<const std::int64_t> members);

}  // namespace eps::backend::sim
