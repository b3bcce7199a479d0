// When one direction of an emulated or modelled wire is busy. Constant expressions throughout, since GPU
// kernels use it too.
#pragma once

#include <cstdint>

namespace eps::comm {

/// Remembers the last `kMost` busy stretches.
template <int kMost>
class BusyTimesOf {
  public:
    /// Takes the first free stretch of `duration_ns` from `earliest_ns` on and returns when it begins.
    /// Messages of two lanes may be heard of in another order than they came in: an earlier gap is used.
    constexpr std::int64_t reserve(std::int64_t earliest_ns, std::int64_t duration_ns) {
        int next = num_;  // the first stretch that begins later
        while (next > 0 && busy_[next - 1].begin_ns > earliest_ns) --next;
        std::int64_t begin_ns = earliest_ns;
        if (next > 0 && busy_[next - 1].end_ns > begin_ns) begin_ns = busy_[next - 1].end_ns;
        for (; next < num_ && busy_[next].begin_ns < begin_ns + duration_ns; ++next)
            begin_ns = busy_[next].end_ns;
        if (duration_ns > 0) remember(next, {begin_ns, begin_ns + duration_ns});
        return begin_ns;
    }

    constexpr void clear() { num_ = 0; }

  private:
    struct Stretch {
        std::int64_t begin_ns = 0;
        std::int64_t end_ns = 0;
    };

    // `taken` lies before stretch `next` and after the one before it. Neighbours that touch become one.
    constexpr void remember(int next, Stretch taken) {
        const bool extends = next > 0 && busy_[next - 1].end_ns == taken.begin_ns;
        const bool leads = next < num_ && busy_[next].begin_ns == taken.end_ns;
        if (extends && leads) {
            busy_[next - 1].end_ns = busy_[next].end_ns;
            --num_;
            for (int i = next; i < num_; ++i) busy_[i] = busy_[i + 1];
        } else if (extends) {
            busy_[next - 1].end_ns = taken.end_ns;
        } else if (leads) {
            busy_[next].begin_ns = taken.begin_ns;
        } else if (num_ < kMost) {
            for (int i = num_; i > next; --i) busy_[i] = busy_[i - 1];
            busy_[next] = taken;
            ++num_;
        } else if (next > 0) {  // the oldest is forgotten
            for (int i = 1; i < next; ++i) busy_[i - 1] = busy_[i];
            busy_[next - 1] = taken;
        }
    }

    Stretch busy_[kMost] = {};  // in order, disjoint, not touching
    int num_ = 0;
};

using BusyTimes = BusyTimesOf<256>;

}  // namespace eps::comm
