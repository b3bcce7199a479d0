// Where the time of a traced pass went.
#include "app/results.hpp"
#include "trace/overlap.hpp"

#include <map>

namespace eps {

void add_phases(const plan::RankPlan& plan, const std::vector<trace::Span>& spans, std::int64_t num_ranks,
                report::Result& result) {
    std::map<std::pair<std::int32_t, std::int32_t>, report::Phase> phases;  // (lane, kind), mean over ranks
    const double share = 1.0 / static_cast<double>(num_ranks);
    for (std::int64_t rank = 0; rank < num_ranks; ++rank) {
        std::vector<trace::Span> of_rank;
        for (const trace::Span& span : spans)
            if (span.rank == rank) of_rank.push_back(span);
        const trace::Overlap overlap = trace::overlap_of(plan.lanes, of_rank);
        report::RankResult& rank_result = result.per_rank[static_cast<std::size_t>(rank)];
        for (std::size_t lane = 0; lane < plan.lanes.size(); ++lane)
            rank_result.lanes.push_back({plan.lanes[lane].name, overlap.lane_busy_seconds[lane]});
        rank_result.exposed_seconds = overlap.exposed_seconds;
        result.communication.busy_seconds += share * overlap.exchange_busy_seconds;
        result.communication.exposed_seconds += share * overlap.exposed_seconds;
        for (const trace::KindTime& time : overlap.kinds) {
            const plan::Lane& lane = plan.lanes[static_cast<std::size_t>(time.lane)];
            report::Phase& phase = phases[{time.lane, time.kind}];
            phase.op = plan::kOpNames[static_cast<std::size_t>(time.kind)];
            phase.lane = lane.name;
            phase.busy_seconds += share * time.busy_seconds;
            phase.count += share * static_cast<double>(time.count);
            if (lane.exchange)
                phase.exposed_seconds = phase.exposed_seconds.value_or(0) + share * time.exposed_seconds;
        }
    }
    for (const auto& [key, phase] : phases) result.phases.push_back(phase);
}

}  // namespace eps
