// The table of strategies: a name for a placement and a schedule. Adding a strategy is adding a row.
#pragma once

#include "placement/placement.hpp"
#include "schedule/schedule.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace eps::schedule {

struct Strategy {
    std::string name;
    std::string about;              // one line, for people
    std::vector<std::string> keys;  // what a case may set, beside strategy, dtype and link
    Schedule schedule;              // before a case sets anything

    /// `base` is a name of `bases()` where `keys` has "base", otherwise not looked at.
    placement::Placement (*placement)(std::int64_t world_size, const std::string& base);

    bool uses(const std::string& key) const;
};

const std::vector<Strategy>& strategies();

/// nullptr for a name that is not in the table.
const Strategy* find_strategy(const std::string& name);

/// Strategies whose placement others may take over, the default first.
const std::vector<std::string>& bases();

/// The row of a case that gives a placement instead of a name: the serial schedule, micro-batches with pp
/// > 1. Keys about exchanges are used only where rows travel, `chunks` (micro-batches) only with pp > 1.
Strategy free_placement(const placement::Placement& placement);

/// The strategy's schedule for this placement: as many micro-batches as stages.
Schedule default_schedule(const Strategy& strategy, const placement::Placement& placement);

}  // namespace eps::schedule
