// Times of a plan's ops from a calibration: what the simulator runs on, and what choices are made from.
#pragma once

#include "cost/calibration.hpp"
#include "plan/plan.hpp"

#include <cstdint>
#include <span>
#include <string>

namespace eps::cost {

/// Rows, in bytes, that an op which only moves memory reads and writes (weights and index arrays left out,
/// but for index ops, of which it is the ids or slots they go through). 0 for all other ops.
double moved_bytes(const plan::Op& op, const plan::RankPlan& plan);

/// Exchanges of so many messages, between the tables of measured numbers; of OpTimes, which outlives it.
class MessageTimes {
  public:
    MessageTimes(std::span<const ExchangeTimes> tables, const std::string& transport,
                 std::int64_t num_messages);

    struct Seconds {
        double alone = 0;
        double beside = 0;  // GEMMs
    };
    /// From the call to the last byte, all ranks alike: `bytes` that this rank sends to others (or receives,
    /// whichever is more).
    Seconds seconds(double bytes) const;

  private:
    std::int64_t num_messages_ = 0;
    const ExchangeTimes *below_ = nullptr, *above_ = nullptr;  // or of the very number; one may be missing
};

/// Seconds of one calibration and dtype. A shape that was not measured takes the time of the most similar
/// one, scaled by the product of its widths. Arithmetic as in time_table.hpp: equal bits everywhere.
class OpTimes {
  public:
    /// Error(usage) if the calibration has nothing of that dtype, naming `where` it came from.
    OpTimes(const Calibration& calibration, DType dtype, const std::string& where);

    /// From now on exchanges travel so, if they were measured so; by default and otherwise as in the
    /// calibration's first table of exchanges.
    void use_transport(const std::string& transport);

    /// What the op keeps its lane's processor busy for, everything in place and nothing beside it, without
    /// overhead. For exchanges: the sums of a reduce-scatter, otherwise 0; the rest is messages().
    /// Error(usage), naming the op: the calibration has nothing like it.
    double seconds(const plan::Op& op, const plan::RankPlan& plan) const;

    /// out [rows, n] = in [rows, k] W^T, all threads.
    double linear_seconds(std::int64_t rows, std::int64_t n, std::int64_t k) const;

    /// GEMMs of experts whose rows lie between consecutive `offsets`: at least as long as the longest expert
    /// alone.
    double expert_gemm_seconds(plan::GemmKind kind, std::int64_t n, std::int64_t k,
                               std::span<const std::int64_t> offsets) const;

    /// A share of that: one expert with `rows` rows beside `num_experts` - 1 like it.
    double expert_seconds(plan::GemmKind kind, std::int64_t n, std::int64_t k, std::int64_t num_experts,
                          double rows) const;

    /// Whether these times hold the op `swiglu` behind the product (of gate and up).
    bool with_swiglu(plan::GemmKind kind, std::int64_t n, std::int64_t k) const;

    /// Memory-bound op of that name (plan::kOpNames) moving so many bytes; 0 for one that was not measured.
    double memory_seconds(std::string_view op, bool on_exchange_lane, double bytes) const;

    /// The table of such an op; nullptr for one that was not measured.
    const TimeTable* memory_table(std::string_view op, bool on_exchange_lane) const;

    /// By the transport in use.
    MessageTimes messages(std::int64_t num_messages) const {
        return {calibration_.exchanges, transport_, num_messages};
    }
    /// A message to oneself.
    double copy_seconds(double bytes) const;

    const Calibration& calibration() const { return calibration_; }
    const std::string& where() const { return where_; }
    DType dtype() const { return times().dtype; }

  private:
    const DTypeTimes& times() const { return calibration_.dtypes[dtype_idx_]; }
    const GemmTimes* expert_gemm(std::int64_t n, std::int64_t k) const;

    Calibration calibration_;
    std::string where_;
    std::size_t dtype_idx_ = 0;
    std::string transport_;
};

}  // namespace eps::cost
