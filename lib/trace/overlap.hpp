// Where the time of a traced pass went on one rank: busy lanes, and communication that nothing hid.
#pragma once

#include "plan/plan.hpp"
#include "trace/span.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace eps::trace {

/// All ops of one kind on one lane.
struct KindTime {
    std::int32_t lane = 0;
    std::int32_t kind = 0;  // index into plan::kOpNames
    std::int64_t count = 0;
    double busy_seconds = 0;
    double exposed_seconds = 0;  // of these, with every compute lane idle; 0 on a compute lane
};

/// Times of one rank in one pass. "Busy" counts an instant once, however many lanes of the kind are at work.
struct Overlap {
    std::vector<double> lane_busy_seconds;  // one per lane of the plan
    std::vector<KindTime> kinds;            // by lane, then kind; only those that ran
    double compute_busy_seconds = 0;        // some compute lane at work
    double exchange_busy_seconds = 0;       // some exchange lane at work (waiting for peers included)
    double exposed_seconds = 0;             // of these, with every compute lane idle
    double span_seconds = 0;                // from the first op's begin to the last op's end

    /// 1 - exposed / busy; NaN where nothing is exchanged.
    double hidden() const;
};

/// `spans` are those of one rank and one pass, in any order; `lanes` are its plan's.
/// Error internal: a lane or kind that does not exist, a span that ends before it begins.
Overlap overlap_of(std::span<const plan::Lane> lanes, std::span<const Span> spans);

}  // namespace eps::trace
