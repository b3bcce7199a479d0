// The lanes of a rank as streams: an event behind an op only where another lane or the host waits for it.
#pragma once

#include "backend/cuda/memory.hpp"
#include "plan/plan.hpp"

#include <array>
#include <cstdint>
#include <vector>

namespace eps::backend::cuda {

/// Events, made when they are first needed and kept for all passes.
class EventPool {
  public:
    explicit EventPool(unsigned flags) : flags_(flags) {}
    ~EventPool();
    EventPool(const EventPool&) = delete;
    EventPool& operator=(const EventPool&) = delete;

    cudaEvent_t next();
    /// All are free again.
    void reset() { used_ = 0; }

  private:
    unsigned flags_;
    std::vector<cudaEvent_t> events_;
    std::size_t used_ = 0;
};

/// Streams of a kind, for as many lanes as a plan can have.
class Streams {
  public:
    /// Those of exchange lanes come first where blocks of both wait for a multiprocessor.
    explicit Streams(bool exchange);
    ~Streams();
    Streams(const Streams&) = delete;
    Streams& operator=(const Streams&) = delete;

    cudaStream_t operator[](std::size_t lane) const { return streams_[lane]; }

  private:
    std::vector<cudaStream_t> streams_;
};

/// The ops of a pass that have an event behind them, lane by lane.
class Marks {
  public:
    void begin_pass();

    /// Records an event behind what the stream has so far, of which `op` is the last.
    cudaEvent_t mark(plan::LaneId lane, plan::OpId op, cudaStream_t stream);

    /// The first event of the lane that says that `op` is done; null where there is none yet.
    cudaEvent_t after(plan::LaneId lane, plan::OpId op) const;

  private:
    struct Mark {
        plan::OpId op;
        cudaEvent_t event;
    };
    EventPool pool_{cudaEventDisableTiming};
    std::vector<std::vector<Mark>> lanes_;
};

}  // namespace eps::backend::cuda
