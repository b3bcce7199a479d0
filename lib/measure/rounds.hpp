// The cases of a group, measured in turns: a machine that drifts slows all of them alike.
#pragma once

#include "measure/stopping.hpp"

#include <cstdint>
#include <functional>
#include <vector>

namespace eps::measure {

enum class Pass : std::uint8_t { untimed, timed };

/// Timed passes of a case in one round: enough that the untimed pass before them costs a sixth of the time,
/// few enough that a case's samples spread over the whole measurement.
inline constexpr std::int64_t kTimedPassesPerRound = 5;

/// Runs one pass of a case; seconds of the slowest rank, the same number on every rank (for an untimed pass
/// ignored).
using RunPass = std::function<double(std::int64_t case_idx, Pass pass)>;

/// Repeats the cases 0 .. num_cases-1 in rounds until `rule` says enough for each of them. A round gives each
/// unfinished case one untimed pass (the first round max(1, rule.warmup)) and then up to kTimedPassesPerRound
/// timed ones. A case that needs no timed pass at all (a cap of zero) gets none. What runs next depends on
/// the returned seconds alone, so all ranks decide alike. Returns the timed seconds of each case, in order.
std::vector<std::vector<double>> measure_in_rounds(std::int64_t num_cases, const StoppingRule& rule,
                                                   const RunPass& run_pass);

}  // namespace eps::measure
