// What runs ops. An executor decides nothing: order, sizes, peers and kinds are all in the plan.
#pragma once

#include "base/range.hpp"
#include "base/rows.hpp"
#include "plan/plan.hpp"
#include "schedule/tables.hpp"
#include "trace/span.hpp"

#include <cstdint>
#include <vector>

namespace eps::backend {

/// Runs the plans of one rank, one pass at a time. Driven by one thread.
class Executor {
  public:
    virtual ~Executor() = default;

    /// The next passes run ops of `plan`, made with `tables`; both live until unbind() or longer than the
    /// executor. No pass is under way.
    virtual void bind(const plan::RankPlan& plan, const schedule::Tables& tables) = 0;

    /// Forgets a case whose plan is about to go, and its inputs.
    virtual void unbind(const plan::RankPlan& plan) = 0;

    /// Forgets the ops of the last pass. With `traced` every op leaves a span.
    virtual void begin_pass(bool traced) = 0;

    /// Runs ops [begin, end) of the bound plan, each when its edges allow; returns at once. Ops come in
    /// order, without gaps. Buffers grow to what the ops need (Error resource when there is no memory).
    virtual void submit(Range ops) = 0;

    /// Returns when an op, or every submitted op, is done. Throws what an op threw.
    virtual void wait(plan::OpId op) = 0;
    virtual void finish() = 0;

    /// Copies rows of a buffer to or from host rows of the same dtype and columns. Nothing that uses them is
    /// under way.
    virtual void read(plan::Slice from, Rows to) = 0;
    virtual void write(Rows from, plan::Slice to) = 0;

    /// The rows that an earlier call gave for this slice of the bound case: an executor may keep a copy of
    /// its own.
    virtual void write_again(Rows from, plan::Slice to) { write(from, to); }

    /// Spans of the last pass if it was traced; times are of the steady clock.
    virtual std::vector<trace::Span> take_spans() = 0;

    /// Bytes allocated for weights and buffers now, and at most so far.
    virtual std::int64_t allocated_bytes() const = 0;
    virtual std::int64_t peak_bytes() const = 0;
};

}  // namespace eps::backend
