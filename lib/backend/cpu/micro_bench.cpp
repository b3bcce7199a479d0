// Ops that one rank runs, timed.
#include "backend/cpu/micro_bench.hpp"

#include "backend/cpu/stopwatch.hpp"
#include "backend/op_args.hpp"

#include <array>
#include <memory>
#include <numeric>
#include <string>
#include <utility>

namespace eps::backend::cpu {

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
    WeightsInTurn(const MicroBenchSetup& setup, const cost::Wanted& w, std::int64_t least) {
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

/// Rows that a memory-bound op works on, and runs of it on the first so many.
class MemoryOps {
  public:
    MemoryOps(const kernels::Kernels& kernels, DType dtype, std::int64_t num_rows, std::int64_t cols,
              int threads)
        : kernels_(kernels),
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

class CpuMicroBench : public MicroBench {
  public:
    explicit CpuMicroBench(const MicroBenchSetup& setup)
        : setup_(setup), kernels_(*setup.kernels), threads_(setup.threads) {}

    Grain grain(const cost::Calibration& /*made*/) const override {
        // One expert alone, and as many as threads and a rank have.
        return {.group_sizes = {1, 2, threads_, 8}};
    }
    // With one thread both are one expert after another, all in the same way.
    bool kinds_differ(const cost::Wanted& /*w*/) const override { return threads_ > 1; }
    bool with_swiglu(const cost::Wanted& /*w*/, plan::GemmKind /*kind*/) const override { return false; }

    SecondsAt linear(const cost::Wanted& w) override {
        const auto weights = std::make_shared<WeightsInTurn>(setup_, w, 1);
        const auto in = std::make_shared<Matrix>(w.dtype, w.most, w.k);
        const auto out = std::make_shared<Matrix>(w.dtype, w.most, w.n);
        return [this, weights, in, out](std::int64_t rows) {
            return seconds_of([&] {
                kernels_.linear(in->rows.slice(0, rows), *weights->next(), nullptr, out->rows.slice(0, rows),
                                threads_);
            });
        };
    }

    ExpertSeconds experts(const cost::Wanted& w, std::int64_t most_experts, std::int64_t most_rows) override {
        const auto weights = std::make_shared<WeightsInTurn>(setup_, w, most_experts);
        const auto in = std::make_shared<Matrix>(w.dtype, most_rows, w.k);
        const auto out = std::make_shared<Matrix>(w.dtype, most_rows, w.n);
        return [this, weights, in, out](plan::GemmKind kind, std::int64_t num_experts, std::int64_t rows) {
            const auto run_as =
                kind == plan::GemmKind::dense ? kernels::GemmKind::dense : kernels::GemmKind::group;
            std::vector<kernels::ExpertRows> experts(at(num_experts));
            return seconds_of([&] {
                for (std::int64_t e = 0; e < num_experts; ++e)
                    experts[at(e)] = {weights->next(), {e * rows, (e + 1) * rows}};
                kernels_.expert_gemm(in->rows, experts, run_as, out->rows, threads_);
            });
        };
    }

    SecondsAt gate(const cost::Wanted& w) override {
        const auto in = std::make_shared<Matrix>(w.dtype, w.most, w.k);
        const auto weight = std::make_shared<Matrix>(w.dtype, w.n, w.k);
        const kernels::GateArgs args = gate_args(*setup_.spec);
        return [this, in, weight, args, ids = std::vector<std::int32_t>(at(w.most * args.top_k)),
                weights = std::vector<float>(at(w.most * args.top_k))](std::int64_t rows) mutable {
            return seconds_of([&] {
                kernels_.gate(in->rows.slice(0, rows), weight->rows, args, ids.data(), weights.data(),
                              threads_);
            });
        };
    }

    SecondsAt attention(const cost::Wanted& w) override {
        const kernels::AttentionArgs args = attention_args(*setup_.spec, w.k / setup_.spec->v_head_dim);
        const std::int64_t kv_cols = args.num_heads * (args.nope_dim + args.v_dim);
        const auto q = std::make_shared<Matrix>(w.dtype, w.most, w.n);
        const auto kv = std::make_shared<Matrix>(w.dtype, w.most, kv_cols);
        const auto k_rope = std::make_shared<Matrix>(w.dtype, w.most, args.rope_dim);
        const auto out = std::make_shared<Matrix>(w.dtype, w.most, w.k);
        return [this, args, q, kv, k_rope, out](std::int64_t tokens) {
            const std::array<std::int64_t, 2> starts{0, tokens};
            return seconds_of([&] {
                kernels_.attention(q->rows.slice(0, tokens), kv->rows.slice(0, tokens),
                                   k_rope->rows.slice(0, tokens), starts, args, out->rows.slice(0, tokens),
                                   threads_);
            });
        };
    }

    SecondsAt memory_op(std::string_view op, DType dtype, std::int64_t cols, std::int64_t most_rows,
                        bool on_exchange_lane) override {
        const auto ops =
            std::make_shared<MemoryOps>(kernels_, dtype, most_rows, cols, on_exchange_lane ? 1 : threads_);
        return [ops, name = std::string(op)](std::int64_t rows) {
            return seconds_of([&] { ops->run(name, rows); });
        };
    }

    double index_op(std::string_view op, const IndexWork& work) override {
        const routing::BlockShape& block = work.block;
        const std::size_t num_ids = work.ids.size();
        std::vector<std::int32_t> counts(at(block.num_experts * 3)), order(num_ids + 1),
            slots((num_ids + 1) * at(block.slot_columns())), starts(num_ids + 2), index(num_ids + 1);
        std::vector<float> reduced(num_ids + 1);
        if (op == "route")
            return seconds_of(
                [&] { routing::route(block, work.ids, work.weights, 0, true, counts, order, slots); });
        std::vector<std::int64_t> bounds;
        routing::divide_evenly(block, 1, bounds);
        const routing::Chunks chunks(block, bounds);
        if (op == "map_home")
            return seconds_of([&] { routing::map_home(block, work.ids, chunks, false, starts, index); });
        if (!work.travels)
            return seconds_of([&] {
                routing::map_rows_at_home(block, work.ids, work.weights, order,
                                          {std::span(starts).first(at(work.num_tokens + 1)), index, reduced});
            });
        const routing::CountsView view{work.counts.data(), 2, block.num_experts, 3};
        const auto arrived = std::span(work.slots).first(at(work.num_arrived * block.slot_columns()));
        return seconds_of([&] {
            routing::map_rows(block, 0, view, arrived, chunks, true, false, order, {starts, index, reduced});
        });
    }

    std::unique_ptr<ExchangeBench> exchanges(comm::Communicator& ranks,
                                             std::int64_t /*most_bytes*/) override {
        return make_exchange_bench(ranks);
    }
    std::unique_ptr<BusyLane> keep_busy() override { return make_busy_lane(setup_); }
    std::unique_ptr<Group> load(const Cases& cases, const checkpoint::WeightSource& source) override {
        return setup_.load(cases, source);
    }

  private:
    MicroBenchSetup setup_;
    const kernels::Kernels& kernels_;
    int threads_;
};

}  // namespace

std::unique_ptr<MicroBench> make_micro_bench(const MicroBenchSetup& setup) {
    return std::make_unique<CpuMicroBench>(setup);
}

}  // namespace eps::backend::cpu
