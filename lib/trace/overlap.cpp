#include "trace/overlap.hpp"

#include "base/error.hpp"
#include "base/range.hpp"
#include "plan/op.hpp"

#include <algorithm>
#include <iterator>
#include <limits>
#include <map>
#include <utility>

#include <fmt/core.h>

namespace eps::trace {
namespace {

double seconds(std::int64_t ns) {
    return static_cast<double>(ns) * 1e-9;
}

/// Times in nanoseconds: disjoint and ascending once merged.
std::vector<Range> merged(std::vector<Range> times) {
    std::ranges::sort(times, {}, &Range::begin);
    std::vector<Range> disjoint;
    for (const Range& time : times) {
        if (time.empty()) continue;
        if (!disjoint.empty() && time.begin <= disjoint.back().end) {
            disjoint.back().end = std::max(disjoint.back().end, time.end);
        } else {
            disjoint.push_back(time);
        }
    }
    return disjoint;
}

std::int64_t length_ns(const std::vector<Range>& disjoint) {
    std::int64_t ns = 0;
    for (const Range& time : disjoint) ns += time.size();
    return ns;
}

/// How much of `time` lies outside of `disjoint`.
std::int64_t outside_ns(Range time, const std::vector<Range>& disjoint) {
    std::int64_t ns = time.size();
    auto at = std::ranges::upper_bound(disjoint, time.begin, {}, &Range::end);
    for (; at != disjoint.end() && at->begin < time.end; ++at) {
        ns -= std::min(at->end, time.end) - std::max(at->begin, time.begin);
    }
    return ns;
}

void check_span(const Span& span, std::size_t num_lanes) {
    if (span.lane < 0 || static_cast<std::size_t>(span.lane) >= num_lanes || span.kind < 0 ||
        static_cast<std::size_t>(span.kind) >= std::size(plan::kOpNames) || span.end_ns < span.begin_ns) {
        throw Error(Exit::internal,
                    fmt::format("rank {}: the span of op {} has lane {}, kind {} and {} ns", span.rank,
                                span.op, span.lane, span.kind, span.end_ns - span.begin_ns));
    }
}

}  // namespace

double Overlap::hidden() const {
    if (exchange_busy_seconds <= 0) return std::numeric_limits<double>::quiet_NaN();
    return 1 - exposed_seconds / exchange_busy_seconds;
}

Overlap overlap_of(std::span<const plan::Lane> lanes, std::span<const Span> spans) {
    std::vector<Range> compute;
    std::vector<Range> exchange;
    std::vector<std::vector<Range>> by_lane(lanes.size());
    Range whole = {std::numeric_limits<std::int64_t>::max(), std::numeric_limits<std::int64_t>::min()};
    for (const Span& span : spans) {
        check_span(span, lanes.size());
        const auto lane = static_cast<std::size_t>(span.lane);
        const Range time = {span.begin_ns, span.end_ns};
        by_lane[lane].push_back(time);
        (lanes[lane].exchange ? exchange : compute).push_back(time);
        whole = {std::min(whole.begin, time.begin), std::max(whole.end, time.end)};
    }
    compute = merged(std::move(compute));
    exchange = merged(std::move(exchange));

    Overlap overlap;
    for (std::vector<Range>& times : by_lane)
        overlap.lane_busy_seconds.push_back(seconds(length_ns(merged(std::move(times)))));
    overlap.compute_busy_seconds = seconds(length_ns(compute));
    overlap.exchange_busy_seconds = seconds(length_ns(exchange));
    std::int64_t exposed_ns = 0;
    for (const Range& time : exchange) exposed_ns += outside_ns(time, compute);
    overlap.exposed_seconds = seconds(exposed_ns);
    if (!spans.empty()) overlap.span_seconds = seconds(whole.size());

    std::map<std::pair<std::int32_t, std::int32_t>, KindTime> kinds;
    for (const Span& span : spans) {
        KindTime& kind = kinds[{span.lane, span.kind}];
        kind.lane = span.lane;
        kind.kind = span.kind;
        ++kind.count;
        kind.busy_seconds += seconds(span.end_ns - span.begin_ns);
        if (lanes[static_cast<std::size_t>(span.lane)].exchange) {
            kind.exposed_seconds += seconds(outside_ns({span.begin_ns, span.end_ns}, compute));
        }
    }
    for (const auto& [key, kind] : kinds) overlap.kinds.push_back(kind);
    return overlap;
}

}  // namespace eps::trace
