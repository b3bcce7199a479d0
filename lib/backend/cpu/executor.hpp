// The CPU executor: a lane is a thread, an edge is a wait for the other lane's progress, an exchange is MPI
// (or loopback).
#pragma once

#include "backend/cpu/memory.hpp"
#include "backend/cpu/run_op.hpp"
#include "backend/cpu/weights.hpp"
#include "backend/executor.hpp"
#include "comm/communicator.hpp"
#include "comm/progress.hpp"
#include "comm/wire.hpp"
#include "kernels/kernels.hpp"

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace eps::backend::cpu {

struct ExecutorSetup {
    comm::Communicator* world = nullptr;
    const Weights* weights = nullptr;
    const kernels::Kernels* kernels = nullptr;
    MemoryCount* memory = nullptr;
    int threads = 1;                       // of the compute lane
    comm::ProgressBoard* board = nullptr;  // may be null
    /// Called by the lane in which an op failed, before anything else: peers wait for this rank, so the run
    /// has to end.
    std::function<void(const std::exception&)> on_failure;
};

/// For all cases that share a placement and scope. Construction is collective: it splits communicators.
class CpuExecutor : public Executor {
  public:
    CpuExecutor(const ExecutorSetup& setup, const placement::Placement& placement);
    ~CpuExecutor() override;

    void bind(const plan::RankPlan& plan, const schedule::Tables& tables) override;
    void unbind(const plan::RankPlan& plan) override;
    void begin_pass(bool traced) override;
    void submit(Range ops) override;
    void wait(plan::OpId op) override;
    void finish() override;
    void read(plan::Slice from, Rows to) override;
    void write(Rows from, plan::Slice to) override;
    std::vector<trace::Span> take_spans() override;
    std::int64_t allocated_bytes() const override { return setup_.memory->now(); }
    std::int64_t peak_bytes() const override { return setup_.memory->peak(); }

  private:
    // Room for one symbolic buffer. Work buffers of equal name, dtype and width are shared by all bound
    // cases.
    struct Storage {
        CountedBytes bytes;
        std::int64_t rows = 0;
    };
    struct Binding {
        std::unique_ptr<OpRunner> runner;
        std::vector<Storage*> storage;              // per buffer; null for weights
        std::vector<std::unique_ptr<Storage>> own;  // inputs
        std::vector<const char*> lane_names;
        std::vector<LaneGroup*> groups;  // per lane, null where it has no exchange
    };
    struct Lane {
        std::atomic<plan::OpId> done =
            -1;                // id of the last op that is done: ops of a lane run in the order of their ids
        plan::OpId last = -1;  // of those submitted in this pass; the driver's
        std::vector<trace::Span> spans;
        std::mutex mutex;
        std::condition_variable woken;
        std::vector<plan::OpId> queue;  // under the mutex
        bool stop = false;              // under the mutex
        std::thread thread;
    };

    void grow(plan::BufferId buffer, std::int64_t rows);
    Storage& shared_storage(const plan::Buffer& buffer);
    void run_lane(Lane& lane);
    void run(const plan::Op& op, Lane& lane);
    void fail(std::exception_ptr error);
    void wait_for(const Lane& lane, plan::OpId op) const;
    const Lane& lane_of(plan::OpId op) const {
        return *lanes_[static_cast<std::size_t>(plan_->ops[static_cast<std::size_t>(op)].lane)];
    }
    void rethrow() const;

    ExecutorSetup setup_;
    comm::Wire wire_;  // under all lanes
    LaneGroups groups_;
    std::map<std::string, Storage> shared_;
    std::map<const plan::RankPlan*, Binding> bindings_;
    Binding* bound_ = nullptr;
    const plan::RankPlan* plan_ = nullptr;
    const schedule::Tables* tables_ = nullptr;
    bool traced_ = false;

    std::vector<std::unique_ptr<Lane>> lanes_;
    std::atomic<bool> failed_ = false;
    mutable std::mutex error_mutex_;
    std::exception_ptr error_;
};

}  // namespace eps::backend::cpu
