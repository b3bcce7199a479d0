// The CUDA executor: a lane is a stream, an edge is an event that the other lane waits for, and all memory
// that a pass uses is one allocation. The driving thread enqueues the ops in their order. Runs of ops whose
// shapes never change are recorded as CUDA graphs in a case's second pass and replayed from then on.
#pragma once

#include "backend/backend.hpp"
#include "backend/cuda/exchanges.hpp"
#include "backend/cuda/graph.hpp"
#include "backend/cuda/rooms.hpp"
#include "backend/cuda/run_op.hpp"
#include "backend/cuda/scratch.hpp"
#include "backend/cuda/span_clock.hpp"
#include "backend/cuda/streams.hpp"
#include "backend/cuda/weights.hpp"
#include "comm/cuda/lane_progress.hpp"

#include <cstdint>
#include <exception>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace eps::backend::cuda {

/// For all cases that share a placement, dtype and scope. Construction and destruction are collective.
class CudaExecutor : public Executor {
  public:
    /// Errors: resource, with what is needed and what is free, before anything is allocated.
    CudaExecutor(const BackendSetup& setup, const Cases& cases, const Weights& weights, bool one_host);
    ~CudaExecutor() override;

    void bind(const plan::RankPlan& plan, const schedule::Tables& tables) override;
    void unbind(const plan::RankPlan& plan) override;
    void begin_pass(bool traced) override;
    void submit(Range ops) override;
    void wait(plan::OpId op) override;
    void finish() override;
    void read(plan::Slice from, Rows to) override;
    void write(Rows from, plan::Slice to) override;
    void write_again(Rows from, plan::Slice to) override;
    std::vector<trace::Span> take_spans() override { return spans_.take(); }
    std::int64_t allocated_bytes() const override;
    std::int64_t peak_bytes() const override { return peak_bytes_; }

  private:
    // Ops of one lane without a wait or a mark between them, counted from the first op of their segment; and
    // how many bounds of chunks their maps read.
    struct GraphKey {
        plan::SegmentKind kind;
        std::int64_t layer, micro_batch, first, count, num_bounds;
        auto operator<=>(const GraphKey&) const = default;
    };
    struct Binding {
        std::unique_ptr<OpRunner> runner;
        DeviceBytes inputs;                          // the case's own
        std::map<plan::BufferId, DeviceBytes> kept;  // rows that every pass begins with
        std::vector<std::int64_t> num_rows;          // per buffer: how many it has room for; weights: all
        std::vector<LanePlace> lanes;
        std::vector<const char*> lane_names;
        std::map<GraphKey, Graph> graphs;  // empty ones ran once, op by op
    };

    void make_binding(Binding& binding);
    void require_room(const plan::Op& op) const;
    [[noreturn]] void fail(const std::exception& error);
    void find_marked(Range ops);
    // Ops that go to their stream as one.
    struct Stretch {
        Range ops;
        bool recorded;  // as a graph
    };
    Stretch stretch_from(std::int64_t begin, Range ops) const;
    bool may_be_recorded(const plan::Op& op) const;
    void run(const Stretch& stretch, bool marked);
    void enqueue(Range ops);
    void wait_for_others(const plan::Op& op);
    void copy_awaited_counts(const plan::Op& op);
    void stage(std::byte* device, Rows host, cudaMemcpyKind kind);

    const BackendSetup& setup_;
    const Weights& weights_;
    bool one_host_;
    std::unique_ptr<Rooms> rooms_;
    std::unique_ptr<Scratch> scratch_;
    DeviceBytes arena_;
    PinnedBytes staging_;
    PinnedBytes counts_;  // those that the host waits for, copied behind the op that brings them
    plan::BufferId in_counts_ = plan::kNoBuffer;  // the buffer that they are of
    Streams compute_{false}, exchange_{true};
    cudaStream_t copies_ = nullptr;
    comm::cuda::DeviceWire wire_;
    comm::cuda::LaneProgress progress_;
    std::unique_ptr<Exchanges> exchanges_;
    std::map<const plan::RankPlan*, Binding> bindings_;
    Binding* bound_ = nullptr;
    const plan::RankPlan* plan_ = nullptr;
    const schedule::Tables* tables_ = nullptr;
    std::int64_t peak_bytes_ = 0;

    Marks marks_;
    SpanClock spans_;
    bool traced_ = false;
    std::vector<bool> marked_;              // of the ops being submitted: whether an event follows
    std::vector<plan::OpId> last_of_lane_;  // of the pass; -1: none
};

}  // namespace eps::backend::cuda
