// Calibration of ops that one rank runs.
#include "backend/cpu/calibrate.hpp"
#include "backend/cpu/stopwatch.hpp"
#include "backend/op_args.hpp"
#include "base/error.hpp"
#include "base/random.hpp"
#include "routing/row_maps.hpp"

#include <bit>
#include <memory>
#include <numeric>
#include <string>

namespace eps::backend::cpu {

using cost::Asked;
using cost::TimeTable;
using cost::Wanted;

namespace {

/// Rows that own their elements, small numbers of both signs.
struct Matrix {
    std::vector<std::byte> storage;
    Rows rows;

    Matrix(DType dtype, std::int64_t num_rows, std::int64_t num_cols)
        : storage(at(num_rows * num_cols * bytes_of(dtype))),
          rows{storage.data(), dtype, num_rows, num_cols, num_cols} {
        constexpr std::int64_t kDifferent = 4096;
        const std::int64_t size = num_rows * num_cols;
        with_float_type(dtype, [&]<typename T>() {
            T* values = rows.row<T>(0);
            std::uint64_t bits = 1;
            for (std::int64_t i = 0; i < std::min(size, kDifferent); ++i) {
                bits = bits * 6364136223846793005U + 1442695040888963407U;
                values[i] = static_cast<T>(static_cast<float>(bits >> 40) * 0x1p-23F - 1.0F);
            }
            for (std::int64_t i = kDifferent; i < size; i += kDifferent)
                std::copy_n(values, std::min(kDifferent, size - i), values + i);
        });
    }
};

/// Weights of one shape, used in turn: enough of them to come from memory, if the model's do.
class WeightsInTurn {
  public:
    WeightsInTurn(const CalibrationSetup& setup, const Wanted& w, std::int64_t least) {
        const std::int64_t bytes = w.n * w.k * bytes_of(w.dtype);
        const std::int64_t others = setup.beyond_caches ? kBeyondCaches / bytes : 0;
        const Matrix matrix(w.dtype, w.n, w.k);
        for (std::int64_t i = 0; i < std::max(least, others + 1); ++i)
            weights_.push_back(setup.kernels->pack(matrix.rows));
    }
    const kernels::GemmWeight* next() { return weights_[next_++ % weights_.size()].get(); }

  private:
    std::vector<std::unique_ptr<kernels::GemmWeight>> weights_;
    std::size_t next_ = 0;
};

/// f(size) at 1, 4, 16, ... and `most`, until a run is long.
template <typename F>
TimeTable measured_at(std::int64_t least, std::int64_t most, std::int64_t step, F&& run) {
    TimeTable table;
    for (std::int64_t size = std::min(least, most);; size = std::min(size * step, most)) {
        const double seconds = run(size);
        table.sizes.push_back(static_cast<double>(size));
        table.seconds.push_back(seconds);
        if (size == most || seconds > kLongRun_s) return table;
    }
}

cost::GemmTimes& gemm_of(cost::DTypeTimes& times, std::int64_t n, std::int64_t k) {
    for (cost::GemmTimes& gemm : times.gemms)
        if (gemm.n == n && gemm.k == k) return gemm;
    return times.gemms.emplace_back(cost::GemmTimes{.n = n, .k = k, .by_rows = {}, .experts = {}});
}

void measure_linear(const CalibrationSetup& setup, const Wanted& w, cost::DTypeTimes& times) {
    WeightsInTurn weights(setup, w, 1);
    const Matrix in(w.dtype, w.most, w.k), out(w.dtype, w.most, w.n);
    gemm_of(times, w.n, w.k).by_rows = measured_at(1, w.most, 4, [&](std::int64_t rows) {
        return seconds_of([&] {
            setup.kernels->linear(in.rows.slice(0, rows), *weights.next(), nullptr, out.rows.slice(0, rows),
                                  setup.threads);
        });
    });
}

// One expert alone, and as many as threads and a rank have.
std::vector<std::int64_t> group_sizes(std::int64_t num_experts, int threads) {
    std::vector<std::int64_t> sizes{1};
    for (const std::int64_t size : {std::int64_t{2}, std::int64_t{threads}, std::int64_t{8}})
        if (size > sizes.back() && size <= num_experts) sizes.push_back(size);
    return sizes;
}

void measure_experts(const CalibrationSetup& setup, const Wanted& w, cost::DTypeTimes& times) {
    const std::vector<std::int64_t> sizes = group_sizes(w.num_experts, setup.threads);
    WeightsInTurn weights(setup, w, sizes.back());
    const std::int64_t most_rows = w.most * sizes.back();
    const Matrix in(w.dtype, most_rows, w.k), out(w.dtype, most_rows, w.n);
    std::vector<cost::ExpertGemmTimes> measured;
    for (const auto kind : {plan::GemmKind::group, plan::GemmKind::dense})
        for (const std::int64_t num_experts : sizes) {
            // With one thread both kinds are one expert after another, all in the same way.
            if (kind == plan::GemmKind::dense && setup.threads == 1) {
                measured.push_back(measured[measured.size() - sizes.size()]);
                measured.back().kind = kind;
                continue;
            }
            const auto run_as =
                kind == plan::GemmKind::dense ? kernels::GemmKind::dense : kernels::GemmKind::group;
            TimeTable table = measured_at(1, w.most, 4, [&](std::int64_t rows) {
                std::vector<kernels::ExpertRows> experts(at(num_experts));
                return seconds_of([&] {
                    for (std::int64_t e = 0; e < num_experts; ++e)
                        experts[at(e)] = {weights.next(), {e * rows, (e + 1) * rows}};
                    setup.kernels->expert_gemm(in.rows, experts, run_as, out.rows, setup.threads);
                });
            });
            measured.push_back({kind, num_experts, std::move(table)});
        }
    gemm_of(times, w.n, w.k).experts = std::move(measured);
}

void measure_gate(const CalibrationSetup& setup, const Wanted& w, cost::DTypeTimes& times) {
    const Matrix in(w.dtype, w.most, w.k), weight(w.dtype, w.n, w.k);
    const kernels::GateArgs args = gate_args(*setup.spec);
    std::vector<std::int32_t> ids(at(w.most * args.top_k));
    std::vector<float> weights(ids.size());
    times.gates.push_back({w.n, w.k, measured_at(1, w.most, 4, [&](std::int64_t rows) {
                               return seconds_of([&] {
                                   setup.kernels->gate(in.rows.slice(0, rows), weight.rows, args, ids.data(),
                                                       weights.data(), setup.threads);
                               });
                           })});
}

void measure_attention(const CalibrationSetup& setup, const Wanted& w, cost::DTypeTimes& times) {
    const std::int64_t heads = w.k / setup.spec->v_head_dim;
    const kernels::AttentionArgs args = attention_args(*setup.spec, heads);
    const Matrix q(w.dtype, w.most, w.n), kv(w.dtype, w.most, heads * (args.nope_dim + args.v_dim)),
        k_rope(w.dtype, w.most, args.rope_dim), out(w.dtype, w.most, w.k);
    times.attentions.push_back({w.n, w.k, measured_at(1, w.most, 4, [&](std::int64_t rows) {
                                    const std::array<std::int64_t, 2> starts{0, rows};
                                    return seconds_of([&] {
                                        setup.kernels->attention(q.rows.slice(0, rows),
                                                                 kv.rows.slice(0, rows),
                                                                 k_rope.rows.slice(0, rows), starts, args,
                                                                 out.rows.slice(0, rows), setup.threads);
                                    });
                                })});
}

/// Rows that a memory-bound op works on, and runs of it on the first so many.
class MemoryOps {
  public:
    MemoryOps(const CalibrationSetup& setup, DType dtype, std::int64_t num_rows, std::int64_t cols,
              int threads)
        : kernels_(*setup.kernels),
          threads_(threads),
          in_(dtype, num_rows, cols),
          more_(dtype, num_rows, cols),
          out_(dtype, num_rows, cols),
          index_(at(num_rows)),
          starts_(at(num_rows + 1)),
          weights_(at(num_rows), 0.5F) {
        // Neighbours in one place are strangers in the other.
        for (std::int64_t i = 0; i < num_rows; ++i)
            index_[at(i)] = static_cast<std::int32_t>((i * 7919) % num_rows);
        std::iota(starts_.begin(), starts_.end(), 0);
    }

    /// Bytes that run(op, rows) moves a row, as in cost::moved_bytes; 0 for an op that is not measured here.
    static double moved(std::string_view op) {
        if (op == "clear") return 1;
        if (op == "add" || op == "reduce_scatter" || op == "unpack_sum") return 3;
        if (op == "swiglu") return 1.5;
        const bool moves =
            op == "embed" || op == "rms_norm" || op == "rope" || op == "pack_rows" || op == "local_reduce";
        return moves ? 2 : 0;
    }

    void run(std::string_view op, std::int64_t num_rows) const {
        const Rows in = in_.rows.slice(0, num_rows), out = out_.rows.slice(0, num_rows),
                   more = more_.rows.slice(0, num_rows);
        const auto index = std::span(index_).first(at(num_rows));
        const auto starts = std::span(starts_).first(at(num_rows + 1));
        if (op == "clear") {
            std::fill_n(out.data, at(num_rows * out.num_cols * bytes_of(out.dtype)), std::byte{});
        } else if (op == "add" || op == "reduce_scatter") {
            const std::array parts{in, more};
            kernels_.sum_rows(parts, out, threads_);
        } else if (op == "unpack_sum") {
            kernels_.unpack_sum(in_.rows, starts, index, &more, nullptr, out, threads_);
        } else if (op == "swiglu") {
            kernels_.swiglu(in.columns(0, in.num_cols / 2 * 2), out.columns(0, in.num_cols / 2), threads_);
        } else if (op == "rms_norm") {
            kernels_.rms_norm(in, more_.rows.slice(0, 1), 1e-6, out, threads_);
        } else if (op == "rope") {
            const std::int64_t pairs = in.num_cols / 2;
            const kernels::RopeTable table{std::vector<double>(at(pairs), 0.5), 1};
            kernels_.rope(out, index, table, 1, in.num_cols, in.num_cols - 2 * pairs, threads_);
        } else if (op == "local_reduce") {
            kernels_.local_reduce(in_.rows, starts, index, std::span(weights_).first(index.size()), out,
                                  threads_);
        } else if (op == "embed") {
            kernels_.embed(index, in_.rows, out, threads_);
        } else {
            kernels_.pack_rows(in_.rows, index, out, threads_);
        }
    }

  private:
    const kernels::Kernels& kernels_;
    int threads_;
    Matrix in_, more_, out_;
    std::vector<std::int32_t> index_, starts_;
    std::vector<float> weights_;
};

/// Index ops: 16 experts, two parts, the model's top k; bytes are those of the ids or slots.
TimeTable measure_index_op(const CalibrationSetup& setup, std::string_view op, bool on_exchange_lane,
                           std::int64_t most_bytes) {
    const std::int64_t num_experts = std::max<std::int64_t>(1, setup.spec->n_routed_experts);
    const std::int64_t k = std::max<std::int64_t>(1, setup.spec->num_experts_per_tok);
    const bool two_parts = op != "map_rows" || on_exchange_lane;
    const routing::BlockShape block{num_experts, two_parts ? 2 : 1, 1, k};
    const std::int64_t row_bytes = 4 * (op == "map_home"                       ? k
                                        : op == "map_rows" && on_exchange_lane ? block.slot_columns()
                                                                               : 2 * k);
    const std::int64_t most_rows = std::max<std::int64_t>(1, most_bytes / row_bytes);
    const TimeTable by_rows = measured_at(1, most_rows, 4, [&](std::int64_t rows) {
        std::vector<std::int32_t> ids;
        for (std::int64_t t = 0; t < rows; ++t)
            for (std::int64_t j = 0; j < k; ++j)
                ids.push_back(static_cast<std::int32_t>((t * 5 + j) % num_experts));
        const std::vector<float> weights(ids.size(), 1.0F);
        std::vector<std::int32_t> counts(at(2 * num_experts * 3)), order(ids.size() + 1),
            slots((ids.size() + 1) * at(block.slot_columns())), starts(ids.size() + 2), index(ids.size() + 1);
        std::vector<float> reduced(ids.size() + 1);
        const std::int64_t num_sent = routing::route(
            block, ids, weights, 0, true, std::span(counts).first(at(num_experts * 3)), order, slots);
        std::vector<std::int64_t> bounds;
        routing::divide_evenly(block, 1, bounds);
        const routing::Chunks chunks(block, bounds);
        if (op == "route")
            return seconds_of([&] {
                routing::route(block, ids, weights, 0, true, std::span(counts).first(at(num_experts * 3)),
                               order, slots);
            });
        if (op == "map_home")
            return seconds_of([&] { routing::map_home(block, ids, chunks, false, starts, index); });
        if (!two_parts)
            return seconds_of([&] {
                routing::map_rows_at_home(block, ids, weights, order,
                                          {std::span(starts).first(at(rows + 1)), index, reduced});
            });
        // The first part's rows, of a single source; per row of slots.
        std::int64_t of_part = 0;
        for (std::int64_t e = 0; e < block.experts_of(0).end; ++e)
            of_part += counts[at(e * 3 + routing::kFirst)];
        const routing::CountsView view{counts.data(), 2, num_experts, 3};
        const double seconds = seconds_of([&] {
            routing::map_rows(block, 0, view, std::span(slots).first(at(of_part * block.slot_columns())),
                              chunks, true, false, order, {starts, index, reduced});
        });
        return of_part > 0 ? seconds * static_cast<double>(rows) / static_cast<double>(of_part)
                           : seconds * static_cast<double>(num_sent > 0);
    });
    TimeTable table = by_rows;
    for (double& size : table.sizes) size *= static_cast<double>(row_bytes);
    return table;
}

void measure_memory(const CalibrationSetup& setup, const Wanted& w, cost::DTypeTimes& times) {
    const std::string op(plan::kOpNames[at(w.n)]);
    const bool exchanges = w.what == Asked::exchange_op;
    cost::OpTables& tables = exchanges ? times.exchange_ops : times.compute_ops;
    if (op == "route" || op == "map_rows" || op == "map_home") {
        tables[op] = measure_index_op(setup, op, exchanges, w.most);
        return;
    }
    const double of_row = MemoryOps::moved(op) * static_cast<double>(w.k * bytes_of(w.dtype));
    if (of_row <= 0) return;
    const auto most_rows =
        std::max<std::int64_t>(1, static_cast<std::int64_t>(static_cast<double>(w.most) / of_row));
    const MemoryOps ops(setup, w.dtype, most_rows, w.k, exchanges ? 1 : setup.threads);
    TimeTable table = measured_at(1, most_rows, 8,
                                  [&](std::int64_t rows) { return seconds_of([&] { ops.run(op, rows); }); });
    for (double& size : table.sizes) size *= of_row;
    tables[op] = std::move(table);
}

}  // namespace

void measure_ops(const CalibrationSetup& setup, const Wanted& wanted, cost::DTypeTimes& times) {
    switch (wanted.what) {
        case Asked::linear:
            return measure_linear(setup, wanted, times);
        case Asked::experts:
            return measure_experts(setup, wanted, times);
        case Asked::gate:
            return measure_gate(setup, wanted, times);
        case Asked::attention:
            return measure_attention(setup, wanted, times);
        case Asked::compute_op:
        case Asked::exchange_op:
            return measure_memory(setup, wanted, times);
        case Asked::exchange:
            return;  // of all ranks together
    }
    throw Error(Exit::internal, "unknown thing to measure");
}

}  // namespace eps::backend::cpu
