// How a thread waits for other ranks without keeping a core from those who compute.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>

#include <sched.h>

namespace eps::comm {

/// How often a waiting thread yields before it sleeps. Where ranks share cores it hands its core to the rank
/// it waits for; otherwise to a computing thread of its own, for a time slice of milliseconds, while who
/// sleeps is woken at once: then few. A backend whose ranks compute on no core takes many.
inline std::atomic<int> yields_before_sleep = 10;
constexpr int kYieldsOnSharedCores = 200;

/// How long a waiting thread leaves the core between two looks: after some yields it sleeps an eighth of the
/// time slept so far, 100 us at most, so that it neither keeps a core awake nor adds more than an eighth to
/// the wait. Starts again whenever something has arrived.
class BackOff {
  public:
    void restart() { num_looks_ = 0; }

    void pause() {
        if (++num_looks_ < yields_) {
            sched_yield();
            return;
        }
        const auto now = Clock::now();
        if (num_looks_ == yields_) began_sleeping_ = now;
        std::this_thread::sleep_for(std::clamp<Clock::duration>(
            (now - began_sleeping_) / 8, std::chrono::microseconds(1), std::chrono::microseconds(100)));
    }

  private:
    using Clock = std::chrono::steady_clock;
    const int yields_ = yields_before_sleep;
    int num_looks_ = 0;
    Clock::time_point began_sleeping_;
};

}  // namespace eps::comm
