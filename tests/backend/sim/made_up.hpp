// Small passes and a calibration of round numbers, for timelines that can be reckoned by hand.
#pragma once

#include "backend/sim/simulate.hpp"
#include "plan/builder.hpp"
#include "plan/check.hpp"
#include "tests/schedule/lowered_pass.hpp"

#include <string>
#include <vector>

namespace sim_tests {

using namespace eps;

/// `seconds` a unit at any size of at least one.
inline cost::TimeTable per_unit(double seconds) {
    return {{1}, {seconds}};
}

/// A GEMM takes 1 us a row whatever its shape, memory-bound ops 1 ns a byte moved, an exchange 1 ns a byte;
/// row maps and all else nothing; no overheads.
inline cost::Calibration round_numbers() {
    cost::Calibration made;
    made.about = "round numbers";
    made.exchanges = {{"mpi", 1, per_unit(1e-9), per_unit(1e-9)}};
    made.copy = {{1e15}, {1e-15}};
    cost::DTypeTimes times;
    times.dtype = DType::f32;
    std::vector<cost::ExpertGemmTimes> experts;
    for (const auto kind : {plan::GemmKind::group, plan::GemmKind::dense})
        experts.push_back({kind, 1, per_unit(1e-6)});
    times.gemms = {{8, 8, per_unit(1e-6), experts}};
    times.gates = {{8, 8, per_unit(1e-6)}};
    times.attentions = {{8, 8, per_unit(1e-6)}};
    for (const char* op : {"rms_norm", "rope", "add", "pack_rows", "swiglu", "local_reduce", "unpack_sum"})
        times.compute_ops[op] = times.exchange_ops[op] = per_unit(1e-9);
    for (const char* op : {"embed", "clear", "route", "map_rows", "map_home", "reduce_scatter"})
        times.compute_ops[op] = times.exchange_ops[op] = {{1e15}, {1e-15}};  // no time at all
    made.dtypes = {times};
    return made;
}

inline std::vector<trace::Span> run(const plan::PassUnderCheck& pass, const cost::Calibration& calibration,
                                    const std::optional<Link>& link = {}, bool counts_known = false) {
    const cost::OpTimes times(calibration, DType::f32, "test");
    return backend::sim::simulate(pass, counts_known, {.times = &times, .link = link});
}

/// Plans of ranks that are all of one block, written op by op.
class HandMade {
  public:
    explicit HandMade(std::int64_t num_ranks) : builders_(static_cast<std::size_t>(num_ranks)) {
        placement_.attention_dp = placement_.ep = num_ranks;
        for (plan::PlanBuilder& builder : builders_) {
            compute = builder.lane("compute", false);
            dispatch = builder.lane("dispatch", true);
            combine = builder.lane("combine", true);
            for (const char* name : {"a", "b", "c", "d"})
                builder.buffer({name, plan::BufferKind::work, plan::Residency::device, DType::f32, 8, 0});
            weight =
                builder.buffer({"w", plan::BufferKind::weight, plan::Residency::device, DType::f32, 8, 8});
            builder.begin_segment({plan::SegmentKind::attention, 0, 0});
        }
    }

    /// out = in W^T: as many microseconds as rows.
    void linear(std::int64_t rank, plan::BufferId in, plan::BufferId out, std::int64_t rows) {
        const plan::Slice from{in, {0, rows}}, to{out, {0, rows}};
        of(rank).add(compute, plan::Linear{from, weight, plan::kNoBuffer, to},
                     {plan::reads(from), plan::writes(to)});
    }

    /// Rows (of 32 bytes) to and from each rank.
    void exchange(std::int64_t rank, plan::LaneId lane, plan::BufferId in, plan::BufferId out,
                  const std::vector<std::int64_t>& to, const std::vector<std::int64_t>& from) {
        plan::PlanBuilder& builder = of(rank);
        const auto list = [&](const std::vector<std::int64_t>& rows) {
            std::int64_t total = 0;
            for (std::size_t peer = 0; peer < rows.size(); ++peer) {
                builder.transfer(static_cast<std::int64_t>(peer), {total, total + rows[peer]});
                total += rows[peer];
            }
            return total;
        };
        const auto first = builder.mark_transfers();
        const std::int64_t sent = list(to);
        const auto middle = builder.mark_transfers();
        const std::int64_t received = list(from);
        builder.add(
            lane,
            plan::AllToAll{plan::Group::block, in, out, {first, middle}, {middle, builder.mark_transfers()}},
            {plan::reads({in, {0, sent}}), plan::writes({out, {0, received}})});
    }

    plan::PassUnderCheck pass() const {
        plan::PassUnderCheck pass;
        pass.placement = placement_;
        for (const plan::PlanBuilder& builder : builders_) pass.ranks.push_back({&builder.plan(), {}});
        return pass;
    }

    plan::LaneId compute = 0, dispatch = 0, combine = 0;
    plan::BufferId weight = 0;

  private:
    plan::PlanBuilder& of(std::int64_t rank) { return builders_[static_cast<std::size_t>(rank)]; }

    placement::Placement placement_;
    std::vector<plan::PlanBuilder> builders_;
};

/// "0 compute linear 0-10", microseconds, by rank and begin; one line a span.
inline std::string text_of(const plan::PassUnderCheck& pass, std::vector<trace::Span> spans) {
    std::ranges::stable_sort(
        spans, {}, [](const trace::Span& s) { return std::tuple(s.rank, s.begin_ns, s.lane, s.op); });
    std::string text;
    const auto us = [](std::int64_t ns) {
        std::string digits = std::to_string(ns / 1000);
        if (ns % 1000 != 0) digits += "." + std::to_string(1000 + ns % 1000).substr(1);
        return digits;
    };
    for (const trace::Span& span : spans) {
        const plan::RankPlan& plan = *pass.ranks[static_cast<std::size_t>(span.rank)].plan;
        text += std::to_string(span.rank) + " " + plan.lanes[static_cast<std::size_t>(span.lane)].name + " " +
                std::string(plan::kOpNames[static_cast<std::size_t>(span.kind)]) + " " + us(span.begin_ns) +
                "-" + us(span.end_ns) + "\n";
    }
    return text;
}

}  // namespace sim_tests
