#include "cost/pipeline.hpp"

#include "base/range.hpp"

namespace eps::cost {

// The exchange runs from `start`; chunks under way or waiting beside it end later. While something is
// computed it goes on at the rate of its time beside computation, afterwards at that of its time alone.
void Pipeline::run(const SegmentWork& work, const ExchangeWork& exchange, double start) {
    const double alone = exchange.packing + exchange.processor;
    const double beside = std::max(alone, work.slowdown * exchange.packing + exchange.beside);
    const double busy = std::max(0.0, last_free_ - start);
    const double share = beside > 0 ? std::min(1.0, busy / beside) : 0;  // done while something is computed
    end_ = start + std::max(share * beside + (1 - share) * alone, exchange.packing + exchange.wire);
    if (beside <= 0) return;
    for (std::int64_t part = 0; part < work.num_parts; ++part) {
        double& free = free_[at(part)];
        if (free <= start) continue;
        const double lost = work.loss * alone * std::min(1.0, (free - start) / beside);
        free += lost;
        last_free_ = std::max(last_free_, free);
        for (std::int64_t i = (computed_ - 1) * work.num_parts + part; i >= 0 && done_[at(i)] > start;
             i -= work.num_parts)
            done_[at(i)] += lost;
    }
}

double Pipeline::overlapped(const SegmentWork& work) {
    const std::int64_t n = work.num_chunks;
    done_.assign(at(work.num_parts * n), 0);
    free_.assign(at(work.num_parts), last_free_ = work.covered_s);
    computed_ = 0;
    double wire_free = work.before_s, dispatch_free = work.before_s, combine_free = 0;
    for (std::int64_t home = 0; home < n;) {
        double home_ready = combine_free;
        for (std::int64_t part = 0; part < work.num_parts && home < computed_; ++part)
            home_ready = std::max(home_ready, done_[at(home * work.num_parts + part)]);
        if (computed_ < n && (home == computed_ || dispatch_free <= home_ready)) {
            run(work, work.dispatch[at(computed_)], std::max(wire_free, dispatch_free));
            wire_free = dispatch_free = end_;
            for (std::int64_t part = 0; part < work.num_parts; ++part) {
                double& free = free_[at(part)];
                free = std::max(free, end_) + work.compute[at(part * n + computed_)];
                done_[at(computed_ * work.num_parts + part)] = free;
                last_free_ = std::max(last_free_, free);
            }
            if (++computed_ == n) dispatch_free += work.home_maps_s;
        } else {
            run(work, work.combine[at(home)], std::max(wire_free, home_ready));
            wire_free = combine_free = end_;
            ++home;
        }
    }
    return std::max({combine_free, dispatch_free, last_free_}) + work.after_s;
}

double serial_seconds(const SegmentWork& work) {
    double seconds = std::max(work.covered_s, work.before_s) + work.home_maps_s + work.after_s;
    for (std::int64_t c = 0; c < work.num_chunks; ++c) {
        double longest = 0;
        for (std::int64_t part = 0; part < work.num_parts; ++part)
            longest = std::max(longest, work.compute[at(part * work.num_chunks + c)]);
        seconds += work.dispatch[at(c)].alone() + longest + work.combine[at(c)].alone();
    }
    return seconds;
}

}  // namespace eps::cost
