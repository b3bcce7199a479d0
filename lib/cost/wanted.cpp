#include "cost/wanted.hpp"

#include "cost/op_times.hpp"

#include <algorithm>
#include <string>

#include <fmt/format.h>

namespace eps::cost {

namespace {

std::int64_t largest_exchange(const plan::RankPlan& plan, Range transfers, plan::BufferId buffer) {
    std::int64_t rows = 0;
    for (std::int64_t i = transfers.begin; i < transfers.end; ++i) rows += plan.transfers[at(i)].rows.size();
    const plan::Buffer& of = plan.buffers[at(buffer)];
    return rows * of.cols * bytes_of(of.dtype);
}

}  // namespace

std::string described(const Wanted& wanted) {
    const auto shaped = [&](const char* what) {
        return fmt::format("{} [{}, {}] in {}", what, wanted.n, wanted.k, name_of(wanted.dtype));
    };
    switch (wanted.what) {
        case Asked::linear:
            return shaped("linear");
        case Asked::experts:
            return shaped("experts");
        case Asked::gate:
            return shaped("gate");
        case Asked::attention:
            return shaped("attention");
        case Asked::compute_op:
        case Asked::exchange_op:
            return fmt::format("{} in {}", plan::kOpNames[at(wanted.n)], name_of(wanted.dtype));
        case Asked::exchange:
            break;
    }
    return "exchange";
}

void want(const Wanted& wanted, std::vector<Wanted>& list) {
    if (wanted.most <= 0) return;
    const auto same = std::ranges::find_if(list, [&](const Wanted& w) { return w.same_table(wanted); });
    if (same == list.end()) {
        list.push_back(wanted);
        return;
    }
    same->most = std::max(same->most, wanted.most);
    same->k = std::max(same->k, wanted.k);
    same->num_experts = std::max(same->num_experts, wanted.num_experts);
}

void want(const plan::RankPlan& plan, DType dtype, bool everything, std::vector<Wanted>& list) {
    const auto buffer = [&](plan::BufferId id) -> const plan::Buffer& { return plan.buffers[at(id)]; };
    std::int64_t most_rows = 1;  // of one expert: every token of the segment might choose it
    for (const plan::Op& op : plan.ops)
        if (const auto* gate = std::get_if<plan::Gate>(&op.args))
            most_rows = std::max(most_rows, gate->in.rows.size());
    for (const plan::Op& op : plan.ops) {
        const plan::SegmentKind segment = plan.segments[at(op.segment)].kind;
        const bool around_experts =
            segment == plan::SegmentKind::experts ||
            (segment == plan::SegmentKind::gate && !std::holds_alternative<plan::Gate>(op.args));
        if (!everything && !around_experts) continue;
        if (const auto* linear = std::get_if<plan::Linear>(&op.args)) {
            want({Asked::linear, dtype, buffer(linear->out.buffer).cols, buffer(linear->weight).cols,
                  linear->out.rows.size()},
                 list);
        } else if (const auto* gemm = std::get_if<plan::ExpertGemm>(&op.args)) {
            const std::int64_t n = buffer(gemm->out).cols;
            const std::int64_t num_experts = buffer(gemm->weight).rows / n;
            const std::int64_t rows = plan.numbers[at(gemm->offsets.end - 1)];
            want({Asked::experts, dtype, n, buffer(gemm->in).cols, std::max(most_rows, rows / num_experts),
                  num_experts, gemm->which == plan::ExpertWeight::gate_up},
                 list);
        } else if (const auto* gate = std::get_if<plan::Gate>(&op.args)) {
            want({Asked::gate, dtype, buffer(gate->weight).rows, buffer(gate->in.buffer).cols,
                  gate->in.rows.size()},
                 list);
        } else if (const auto* attention = std::get_if<plan::Attention>(&op.args)) {
            std::int64_t longest = 0;
            for (std::int64_t i = attention->starts.begin; i + 1 < attention->starts.end; ++i)
                longest = std::max(longest, plan.numbers[at(i + 1)] - plan.numbers[at(i)]);
            want({Asked::attention, dtype, buffer(attention->q.buffer).cols,
                  buffer(attention->out.buffer).cols, longest},
                 list);
        } else if (const auto* exchange = std::get_if<plan::AllToAll>(&op.args)) {
            want({Asked::exchange, DType::f32, 0, 0,
                  std::max(largest_exchange(plan, exchange->sends, exchange->in),
                           largest_exchange(plan, exchange->receives, exchange->out))},
                 list);
        } else if (const double bytes = moved_bytes(op, plan); bytes > 0) {
            std::int64_t cols = 1;
            for (std::int64_t u = op.uses.begin; u < op.uses.end; ++u) {
                const plan::Buffer& used = buffer(plan.uses[at(u)].buffer);
                if (used.kind == plan::BufferKind::work) cols = std::max(cols, used.cols);
            }
            const bool exchanges = plan.lanes[at(op.lane)].exchange;
            want({exchanges ? Asked::exchange_op : Asked::compute_op, dtype,
                  static_cast<std::int64_t>(op.args.index()), cols, static_cast<std::int64_t>(bytes)},
                 list);
        }
    }
    want({Asked::exchange, DType::f32, 0, 0, 1 << 16}, list);
}

std::vector<Wanted> missing(const Calibration& calibration, const std::vector<Wanted>& list) {
    // A table that ends early ends where a run became long: see TimeTable.
    const auto covers = [](const TimeTable& table, std::int64_t most) {
        return !table.sizes.empty() &&
               (table.sizes.back() * 4 > static_cast<double>(most) || table.seconds.back() > kLongRun_s / 2);
    };
    const auto has = [&](const Wanted& w) {
        if (w.what == Asked::exchange)
            return !calibration.exchanges.empty() && covers(calibration.exchanges[0].by_bytes, w.most);
        const DTypeTimes* times = calibration.find(w.dtype);
        if (times == nullptr) return false;
        const auto shaped = [&](const auto& entry) { return entry.n == w.n && entry.k == w.k; };
        const auto op_covered = [&](const OpTables& tables) {
            const auto op = tables.find(plan::kOpNames[at(w.n)]);
            return op != tables.end() && covers(op->second, w.most);
        };
        switch (w.what) {
            case Asked::linear:
                return std::ranges::any_of(
                    times->gemms, [&](const GemmTimes& g) { return shaped(g) && covers(g.by_rows, w.most); });
            case Asked::experts:
                return std::ranges::any_of(times->gemms, [&](const GemmTimes& g) {
                    return shaped(g) && !g.experts.empty() && covers(g.experts[0].by_rows, w.most);
                });
            case Asked::gate:
                return std::ranges::any_of(times->gates, [&](const GateTimes& g) {
                    return g.num_experts == w.n && g.hidden == w.k && covers(g.by_rows, w.most);
                });
            case Asked::attention:
                return std::ranges::any_of(times->attentions, [&](const AttentionTimes& a) {
                    return a.q_cols == w.n && a.out_cols == w.k && covers(a.by_tokens, w.most);
                });
            case Asked::compute_op:
                return op_covered(times->compute_ops);
            case Asked::exchange_op:
                return op_covered(times->exchange_ops);
            case Asked::exchange:
                break;
        }
        return false;
    };
    std::vector<Wanted> made;
    std::ranges::copy_if(list, std::back_inserter(made), [&](const Wanted& w) { return !has(w); });
    return made;
}

}  // namespace eps::cost
