// How a thread waits for other ranks without keeping a core from those who compute.
#pragma once

#include <algorithm>
#include <chrono>
#include <thread>

#include <sched.h>

namespace eps::comm {

/// How long a waiting thread leaves the core between two looks. First it yields, which costs a waiting rank
/// little latency and a computing one nothing; then it sleeps an eighth of the time waited so far, 50 us at
/// most, so that it neither keeps a core awake nor adds more than an eighth to the wait. Starts again
/// whenever something has arrived.
class BackOff {
  public:
    void restart() { num_looks_ = 0; }

    void pause() {
        if (++num_looks_ < kYields) {
            sched_yield();
            return;
        }
        const auto now = Clock::now();
        if (num_looks_ == kYields) began_sleeping_ = now;
        std::this_thread::sleep_for(std::clamp<Clock::duration>(
            (now - began_sleeping_) / 8, std::chrono::microseconds(1), std::chrono::microseconds(50)));
    }

  private:
    using Clock = std::chrono::steady_clock;
    static constexpr int kYields = 200;
    int num_looks_ = 0;
    Clock::time_point began_sleeping_;
};

}  // namespace eps::comm
