// What the host spends on a MoE layer of DeepSeek-V2 in n = 10 chunks, by the real executor: until the first
// op of the experts is submitted, and for submitting all of a layer; with and without CUDA graphs.
//   mpirun -n N bench_submission [copy_engine|nccl] [tokens a rank]...
// Times are of all ranks together. One rank alone keeps its rows at home, in one piece.
#include "backend/cuda/devices.hpp"
#include "backend/cuda/executor.hpp"
#include "backend/expected.hpp"
#include "backend/inputs.hpp"
#include "base/exit_status.hpp"
#include "checkpoint/synthetic.hpp"
#include "comm/collectives.hpp"
#include "comm/mpi.hpp"
#include "model/spec_json.hpp"
#include "tests/count_allocations.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <fmt/core.h>

namespace {

using namespace eps;
using namespace eps::backend;

constexpr std::int64_t kLayers = 4, kChunks = 10;  // the first layer is dense
constexpr std::int64_t kWarmUp = 4, kPasses = 20, kPassesByOp = 6;
constexpr double kMostFirstOp_us = 100, kMostLayer_us = 600;

double us(std::int64_t ns) {
    return static_cast<double>(ns) * 1e-3;
}

/// Tells how long the calls of a pass take on the host.
class Stopwatch final : public Executor {
  public:
    struct Times {
        plan::Segment segment;
        double lower_us = 0, submit_us = 0;
        double first_us = 0;        // experts: since the counts were there until the first op was submitted
        std::int64_t first_ns = 0;  // when that was
    };

    explicit Stopwatch(Executor& inner) : inner_(inner) { segments_.reserve(1000); }

    /// Every op by itself from now on: slower, each gets an event.
    void tell_ops_apart() { by_op_ = true; }
    const std::vector<Times>& segments() const { return segments_; }
    const std::map<std::string, std::vector<double>>& ops_us() const { return ops_us_; }

    void bind(const plan::RankPlan& plan, const schedule::Tables& tables) override {
        plan_ = &plan;
        inner_.bind(plan, tables);
    }
    void unbind(const plan::RankPlan& plan) override { inner_.unbind(plan); }
    void begin_pass(bool traced) override {
        segments_.clear();
        inner_.begin_pass(traced);
        last_ns_ = comm::steady_now_ns();
    }
    void submit(Range ops) override {
        if (ops.empty()) return;
        const std::int64_t begin_ns = comm::steady_now_ns();
        Times& times = times_of(plan_->segments[at(plan_->ops[at(ops.begin)].segment)]);
        times.lower_us += us(begin_ns - last_ns_);
        if (by_op_) {
            submit_one_by_one(ops);
        } else if (times.segment.kind == plan::SegmentKind::experts && times.first_ns == 0) {
            inner_.submit({ops.begin, ops.begin + 1});
            times.first_ns = comm::steady_now_ns();
            times.first_us = us(times.first_ns - counted_ns_);
            if (ops.size() > 1) inner_.submit({ops.begin + 1, ops.end});
        } else {
            inner_.submit(ops);
        }
        last_ns_ = comm::steady_now_ns();
        times.submit_us += us(last_ns_ - begin_ns);
    }
    void wait(plan::OpId op) override {
        inner_.wait(op);
        counted_ns_ = comm::steady_now_ns();
    }
    void finish() override { inner_.finish(); }
    void read(plan::Slice from, Rows to) override {
        inner_.read(from, to);
        last_ns_ = comm::steady_now_ns();
    }
    void write(Rows from, plan::Slice to) override { inner_.write(from, to); }
    void write_again(Rows from, plan::Slice to) override { inner_.write_again(from, to); }
    std::vector<trace::Span> take_spans() override { return inner_.take_spans(); }
    std::int64_t allocated_bytes() const override { return inner_.allocated_bytes(); }
    std::int64_t peak_bytes() const override { return inner_.peak_bytes(); }

  private:
    // A segment may come in parts.
    Times& times_of(const plan::Segment& segment) {
        if (segments_.empty() || segments_.back().segment.kind != segment.kind ||
            segments_.back().segment.layer != segment.layer)
            segments_.push_back({.segment = segment});
        return segments_.back();
    }
    void submit_one_by_one(Range ops) {
        for (std::int64_t i = ops.begin; i < ops.end; ++i) {
            const std::int64_t begin_ns = comm::steady_now_ns();
            inner_.submit({i, i + 1});
            ops_us_[std::string(plan::name_of(plan_->ops[at(i)].args))].push_back(
                us(comm::steady_now_ns() - begin_ns));
        }
    }

    Executor& inner_;
    const plan::RankPlan* plan_ = nullptr;
    bool by_op_ = false;
    std::int64_t last_ns_ = 0, counted_ns_ = 0;
    std::vector<Times> segments_;                        // of the pass
    std::map<std::string, std::vector<double>> ops_us_;  // of all passes, by kind
};

/// Samples of all ranks.
std::vector<double> of_all_ranks(comm::Communicator& world, const std::vector<double>& mine) {
    std::vector<double> all;
    for (const comm::Bytes& bytes : comm::gather_bytes(world, 0, std::as_bytes(std::span(mine)))) {
        const std::size_t begin = all.size();
        all.resize(begin + bytes.size() / sizeof(double));
        std::memcpy(all.data() + begin, bytes.data(), bytes.size());
    }
    std::ranges::sort(all);
    return all;
}

double quantile(const std::vector<double>& sorted, double share) {
    return sorted.empty()
               ? std::nan("")
               : sorted[std::min(sorted.size() - 1,
                                 static_cast<std::size_t>(share * static_cast<double>(sorted.size())))];
}

class Bench {
  public:
    Bench(comm::MpiWorld& mpi, schedule::Transport transport, std::int64_t tokens_per_rank)
        : mpi_(mpi), world_(mpi.communicator()) {
        const std::int64_t num_ranks = world_.size(), length = std::min<std::int64_t>(1024, tokens_per_rank);
        spec_ = model::load_preset("deepseek-v2", "{}", kLayers);
        prompts_ = std::make_unique<Prompts>(
            std::vector<std::int64_t>(at(num_ranks * (tokens_per_rank / length)), length), 1);
        setup_.spec = &spec_;
        setup_.layout = &layout_;
        setup_.placement = {.attention_dp = num_ranks, .ep = num_ranks};
        setup_.schedule = {.chunk_by = schedule::ChunkBy::expert,
                           .chunks = kChunks,
                           .overlap = true,
                           .gemm = schedule::GemmChoice::group};
        setup_.schedule.transport = transport;
        setup_.scope = schedule::Scope::layer;
        setup_.dtype = DType::bf16;
        layout_ = placement::lay_out_tokens(setup_.placement, prompts_->batch.lengths, 1);
        runner_ = std::make_unique<PassRunner>(setup_, world_.rank());
        lower_expected(*prompts_, *runner_);
        eager_setup_ = {.world = &world_,
                        .board = nullptr,
                        .on_failure = {},
                        .host = mpi.hosts()[at(world_.rank())],
                        .local_rank = mpi.local_rank(),
                        .num_local_ranks = mpi.local_size(),
                        .available_host_bytes = 0,
                        .share_devices = true,
                        .load_margin = 1.5,
                        .graphs = false};
        graph_setup_ = eager_setup_;
        graph_setup_.graphs = true;
        device_ = cuda::use_device(eager_setup_);
        say(fmt::format("{} tokens a rank, {} ranks on {} GPUs, {}, {} chunks, bf16", tokens_per_rank,
                        num_ranks, device_.num_devices,
                        transport == schedule::Transport::nccl ? "nccl" : "copy engines",
                        num_ranks == 1 ? 1 : kChunks));
    }

    void run() {
        const Cases cases{runner_.get()};
        const auto source = checkpoint::synthetic_weights(spec_, 1);
        const cuda::Weights weights(runner_->tables().weights, DType::bf16, *source);
        const bool one_host = cuda::all_on_one_host(eager_setup_);
        cuda::CudaExecutor eager(eager_setup_, cases, weights, one_host);
        cuda::CudaExecutor recorded(graph_setup_, cases, weights, one_host);
        prepare(eager);
        prepare(recorded);
        Figures one_by_one = {}, by_graphs = {};
        for (std::int64_t i = 0; i < kPasses; ++i) {  // taking turns
            measure(eager, one_by_one);
            measure(recorded, by_graphs);
        }
        measure_traced(eager);
        say(fmt::format("{:58} {:>8} {:>8}", "us on the host", "median", "95 %"));
        tell("counts on the host -> first op of the experts submitted", one_by_one.us["first"],
             kMostFirstOp_us);
        tell("end of the gate's kernel -> the same (traced)", since_gate_us_);
        tell("end of the counts' exchange -> the same (traced)", since_counts_us_);
        tell_layer("", one_by_one);
        tell_layer(", by graphs", by_graphs);
        tell_ops(eager);
        tell("for scale: setting 4 bytes of GPU memory, by itself", memset_us());
        say(fmt::format(
            "a pass of {} layers: {:.3f} ms, by graphs {:.3f} ms; {:.0f} and {:.0f} allocations on "
            "the host, GPU memory less by {} and {} bytes after {} passes\n",
            kLayers, slowest_ms(one_by_one), slowest_ms(by_graphs), one_by_one.allocations,
            by_graphs.allocations, one_by_one.less_bytes, by_graphs.less_bytes, kPasses));
    }

  private:
    struct Figures {
        std::map<std::string, std::vector<double>> us;
        std::vector<double> pass_ms;
        double allocations = 0;       // of the last pass
        std::int64_t less_bytes = 0;  // of GPU memory, all passes together
    };

    void say(const std::string& line) const {
        if (world_.rank() == 0) fmt::print("{}\n", line);
    }

    void tell(const std::string& what, const std::vector<double>& mine, double most = 0) {
        const std::vector<double> all = of_all_ranks(world_, mine);
        say(fmt::format("{:58} {:8.1f} {:8.1f}{}", what, quantile(all, 0.5), quantile(all, 0.95),
                        most == 0 ? "" : fmt::format("   wanted: {:.0f}", most)));
    }

    void tell_layer(const std::string& how, Figures& figures) {
        for (const char* part : {"attention", "gate", "experts"})
            for (const char* step : {"lower", "submit"})
                tell(fmt::format("{} {}{}", step, part, how), figures.us[std::string(step) + " " + part]);
        tell(fmt::format("lower and submit a MoE layer{}", how), figures.us["layer"], kMostLayer_us);
    }

    double slowest_ms(Figures& figures) {
        std::ranges::sort(figures.pass_ms);
        return comm::max_over_ranks(world_, quantile(figures.pass_ms, 0.5));
    }

    double pass(cuda::CudaExecutor& executor, Executor& driven, bool traced = false) {
        executor.bind(runner_->plan(), runner_->tables());
        driven.bind(runner_->plan(), runner_->tables());
        inputs_->write_rows(executor);
        world_.barrier();
        const std::int64_t begin_ns = comm::steady_now_ns();
        runner_->run(driven, traced);
        return us(comm::steady_now_ns() - begin_ns) * 1e-3;
    }

    void prepare(cuda::CudaExecutor& executor) {
        executor.bind(runner_->plan(), runner_->tables());
        if (!inputs_) inputs_ = std::make_unique<Inputs>(*prompts_, *runner_);
        inputs_->write(executor);
        for (std::int64_t i = 0; i < kWarmUp; ++i) pass(executor, executor);
    }

    void measure(cuda::CudaExecutor& executor, Figures& figures) {
        pass(executor, executor);
        Stopwatch watch(executor);
        const std::int64_t free = cuda::free_bytes(), allocations = num_allocations;
        pass(executor, watch);
        figures.allocations = static_cast<double>(num_allocations - allocations);
        figures.less_bytes += free - cuda::free_bytes();
        std::map<std::int64_t, double> layers;
        for (const Stopwatch::Times& times : watch.segments()) {
            if (times.segment.layer == 0) continue;
            layers[times.segment.layer] += times.lower_us + times.submit_us;
            const char* const part = times.segment.kind == plan::SegmentKind::attention ? "attention"
                                     : times.segment.kind == plan::SegmentKind::gate    ? "gate"
                                                                                        : "experts";
            figures.us[std::string("lower ") + part].push_back(times.lower_us);
            figures.us[std::string("submit ") + part].push_back(times.submit_us);
            if (times.first_ns != 0) figures.us["first"].push_back(times.first_us);
        }
        for (const auto& [layer, sum_us] : layers) figures.us["layer"].push_back(sum_us);
        figures.pass_ms.push_back(pass(executor, executor));
    }

    // Spans are in the host's time.
    void measure_traced(cuda::CudaExecutor& executor) {
        for (std::int64_t i = 0; i < kPasses; ++i) {
            Stopwatch watch(executor);
            pass(executor, watch, true);
            const std::vector<trace::Span> spans = executor.take_spans();
            for (const Stopwatch::Times& times : watch.segments())
                for (const trace::Span& span : spans) {
                    if (times.first_ns == 0 || span.layer != times.segment.layer) continue;
                    const auto kind = plan::kOpNames[at(span.kind)];
                    if (kind == "gate") since_gate_us_.push_back(us(times.first_ns - span.end_ns));
                    if (kind == "exchange_counts")
                        since_counts_us_.push_back(us(times.first_ns - span.end_ns));
                }
        }
    }

    void tell_ops(cuda::CudaExecutor& executor) {
        Stopwatch watch(executor);
        watch.tell_ops_apart();
        for (std::int64_t i = 0; i < kPassesByOp; ++i) pass(executor, watch);
        say(fmt::format("{:58} {:>8} {:>8} {:>8}", "one op, with an event of its own", "median", "95 %",
                        "a pass"));
        for (const auto& [kind, mine] : watch.ops_us()) {
            const std::vector<double> all = of_all_ranks(world_, mine);
            say(fmt::format("  {:56} {:8.1f} {:8.1f} {:8}", kind, quantile(all, 0.5), quantile(all, 0.95),
                            mine.size() / at(kPassesByOp)));
        }
    }

    // Hosts differ in what a call of the driver takes.
    static std::vector<double> memset_us() {
        constexpr int kCalls = 50, kTimes = 20;
        const cuda::DeviceBytes word(4, "a word");
        std::vector<double> each;
        for (int time = 0; time < kTimes; ++time) {
            cuda::check(cudaStreamSynchronize(nullptr), "waiting");
            const std::int64_t begin_ns = comm::steady_now_ns();
            for (int call = 0; call < kCalls; ++call)
                cuda::check(cudaMemsetAsync(word.data(), 0, 4, nullptr), "setting a word");
            each.push_back(us(comm::steady_now_ns() - begin_ns) / kCalls);
        }
        return each;
    }

    comm::MpiWorld& mpi_;
    comm::Communicator& world_;
    model::ModelSpec spec_;
    std::unique_ptr<Prompts> prompts_;
    schedule::PassSetup setup_;
    placement::TokenLayout layout_;
    std::unique_ptr<PassRunner> runner_;
    std::unique_ptr<Inputs> inputs_;
    BackendSetup eager_setup_, graph_setup_;
    cuda::Device device_;
    std::vector<double> since_gate_us_, since_counts_us_;
};

}  // namespace

int main(int argc, char** argv) {
    comm::MpiWorld mpi;
    try {
        auto transport = schedule::Transport::copy_engine;
        std::vector<std::int64_t> sizes;
        for (int i = 1; i < argc; ++i) {
            const std::string word = argv[i];
            if (word == "nccl") transport = schedule::Transport::nccl;
            if (word == "nccl" || word == "copy_engine") continue;
            sizes.push_back(std::atoll(argv[i]));
            if (sizes.back() < 1 || (sizes.back() > 1024 && sizes.back() % 1024 != 0))
                throw Error(Exit::usage,
                            "expected copy_engine, nccl, or tokens a rank: up to 1024, or a "
                            "multiple of it, not " +
                                word);
        }
        if (sizes.empty()) sizes = {256, 4096, 16384};
        for (const std::int64_t tokens : sizes) Bench(mpi, transport, tokens).run();
    } catch (const std::exception& error) {
        fmt::print(stderr, "bench_submission: rank {}: {}\n", mpi.communicator().rank(), text_of(error));
        mpi.communicator().abort(static_cast<int>(status_of(error)));
    }
}
