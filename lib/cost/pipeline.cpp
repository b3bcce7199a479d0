#include "cost/pipeline.hpp"

#include "base/range.hpp"

namespace eps::cost {

// The exchange runs from `start`; chunks under way or waiting beside it end later. While something is
// computed it goes on at the rate of its time beside computation, afterwards at that of its time alone.
void Pipeline::run(const SegmentWork& work, const ExchangeWork& exchange, double start) {
    const double alone = exchange.packing + exchange.processor;
    const double beside = std::max(alone, work.slowdown * exchange.packing + exchange.beside);
    const double busy = std::max(0.0, *std::max_element(free_.begin(), free_.end()) - start);
    const double share = beside > 0 ? std::min(1.0, busy / beside) : 0;  // done while something is computed
    end_ = start + std::max(share * beside + (1 - share) * alone, exchange.packing + exchange.wire);
    for (std::int64_t part = 0; part < work.num_parts; ++part) {
        if (free_[at(part)] <= start || beside <= 0) continue;
        const double lost = work.loss * alone * std::min(1.0, (free_[at(part)] - start) / beside);
        free_[at(part)] += lost;
        for (std::int64_t c = computed_ - 1; c >= 0 && done_[at(part * work.num_chunks + c)] > start; --c)
            done_[at(part * work.num_chunks + c)] += lost;
    }
}

double Pipeline::overlapped(const SegmentWork& work) {
    const std::int64_t n = work.num_chunks;
    done_.assign(at(work.num_parts * n), 0);
    free_.assign(at(work.num_parts), work.covered_s);
    computed_ = 0;
    double wire_free = work.before_s, dispatch_free = work.before_s, combine_free = 0;
    for (std::int64_t home = 0; home < n;) {
        double home_ready = combine_free;
        for (std::int64_t part = 0; part < work.num_parts && home < computed_; ++part)
            home_ready = std::max(home_ready, done_[at(part * n + home)]);
        if (computed_ < n && (home == computed_ || dispatch_free <= home_ready)) {
            run(work, work.dispatch[at(computed_)], std::max(wire_free, dispatch_free));
            wire_free = dispatch_free = end_;
            for (std::int64_t part = 0; part < work.num_parts; ++part) {
                double& free = free_[at(part)];
                free = std::max(free, end_) + work.compute[at(part * n + computed_)];
                done_[at(part * n + computed_)] = free;
            }
            if (++computed_ == n) dispatch_free += work.home_maps_s;
        } else {
            run(work, work.combine[at(home)], std::max(wire_free, home_ready));
            wire_free = combine_free = end_;
            ++home;
        }
    }
    return std::max({combine_free, dispatch_free, *std::max_element(free_.begin(), free_.end())}) +
           work.after_s;
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
