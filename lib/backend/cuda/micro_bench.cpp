// Ops that one rank runs, timed on the device.
#include "backend/cuda/micro_bench.hpp"

#include "backend/op_args.hpp"
#include "kernels/cuda/attention.hpp"
#include "kernels/cuda/gemms.hpp"
#include "kernels/cuda/interleaved.hpp"
#include "kernels/cuda/maps.hpp"

#include <algorithm>
#include <array>
#include <numeric>
#include <span>
#include <utility>

namespace eps::backend::cuda {

namespace device = kernels::device;

namespace {

/// Seconds of what is enqueued on a stream, launch after launch, as it is when it goes on for long: a GPU
/// that has rested computes faster until its power is regulated.
class LaunchClock {
  public:
    LaunchClock() {
        check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "making a stream");
        for (cudaEvent_t* event : {&begin_, &end_}) check(cudaEventCreate(event), "making an event");
    }
    ~LaunchClock() {
        cudaEventDestroy(begin_);
        cudaEventDestroy(end_);
        cudaStreamDestroy(stream_);
    }
    LaunchClock(const LaunchClock&) = delete;
    LaunchClock& operator=(const LaunchClock&) = delete;

    cudaStream_t stream() const { return stream_; }

    template <typename F>
    double seconds_of(F&& enqueue) {
        check(cudaDeviceSynchronize(), "filling what is measured");
        enqueue();  // makes plans
        check(cudaStreamSynchronize(stream_), "what is measured");
        const double once_s = std::max(stretch(1, enqueue), 1e-6);
        // What takes a moment draws little power and needs no long warm-up.
        const double warm_s = std::clamp(500 * once_s, 2e-3, 50e-3);
        for (std::int64_t i = calls_in(warm_s, once_s); i > 0; --i) enqueue();
        return stretch(calls_in(warm_s / 2, once_s), enqueue);
    }

  private:
    static std::int64_t calls_in(double seconds, double once_s) {
        return std::max<std::int64_t>(1, static_cast<std::int64_t>(seconds / once_s));
    }

    template <typename F>
    double stretch(std::int64_t calls, F&& enqueue) {
        check(cudaEventRecord(begin_, stream_), "recording an event");
        for (std::int64_t i = 0; i < calls; ++i) enqueue();
        check(cudaEventRecord(end_, stream_), "recording an event");
        check(cudaEventSynchronize(end_), "what is measured");
        float ms = 0;
        check(cudaEventElapsedTime(&ms, begin_, end_), "reading the time between events");
        return std::max(1e-9, static_cast<double>(ms) * 1e-3 / static_cast<double>(calls));
    }

    cudaStream_t stream_ = nullptr;
    cudaEvent_t begin_ = nullptr, end_ = nullptr;
};

template <typename T>
class DeviceList {
  public:
    explicit DeviceList(std::int64_t size)
        : bytes_(std::max<std::int64_t>(1, size) * static_cast<std::int64_t>(sizeof(T)), "what is measured") {
    }
    explicit DeviceList(std::span<const T> values) : DeviceList(std::ssize(values)) {
        check(cudaMemcpy(bytes_.data(), values.data(), values.size_bytes(), cudaMemcpyHostToDevice),
              "copying a list");
    }
    T* data() const { return reinterpret_cast<T*>(bytes_.data()); }

  private:
    DeviceBytes bytes_;
};

/// Products of up to so many experts.
struct Products {
    DeviceBytes workspace;
    device::Gemms gemms;
    PinnedBytes lists;

    explicit Products(std::int64_t most_experts)
        : workspace(device::Gemms::workspace_bytes(most_experts), "the workspace of GEMMs"),
          gemms(workspace.data(), most_experts),
          lists(gemms.lists_bytes()) {}
};

/// Weights of one shape, used in turn: enough of them to come from memory, if the model's do.
class WeightsInTurn {
  public:
    WeightsInTurn(const MicroBenchSetup& setup, const cost::Wanted& w, std::int64_t least) {
        constexpr std::int64_t kMostBytes = std::int64_t{8} << 30;
        const std::int64_t bytes = w.n * w.k * bytes_of(w.dtype);
        const std::int64_t beyond = setup.beyond_caches ? 4 * setup.device.cache_bytes / bytes + 1 : 1;
        num_ = std::clamp<std::int64_t>(std::max(least, beyond), 1,
                                        std::max<std::int64_t>(1, kMostBytes / bytes));
        all_ = std::make_unique<DeviceMatrix>(w.dtype, num_ * w.n, w.k, 0.02F);
        rows_of_one_ = w.n;
    }
    std::int64_t size() const { return num_; }
    Rows next() {
        const std::int64_t first = next_++ % num_ * rows_of_one_;
        return all_->rows.slice(first, first + rows_of_one_);
    }

  private:
    std::unique_ptr<DeviceMatrix> all_;
    std::int64_t num_ = 1, rows_of_one_ = 0, next_ = 0;
};

/// Rows that a memory-bound op works on, and launches of it for the first so many.
class MemoryOps {
  public:
    MemoryOps(DType dtype, std::int64_t num_rows, std::int64_t cols)
        : in_(dtype, num_rows, cols),
          more_(dtype, num_rows, cols),
          out_(dtype, num_rows, cols),
          index_(strangers(num_rows)),
          starts_(ascending(num_rows + 1)),
          weights_(std::vector<float>(at(num_rows), 0.5F)),
          cos_sin_(std::vector<float>(at(num_rows * kRopePairs * 2), 0.5F)) {}

    void enqueue(std::string_view op, std::int64_t num_rows, cudaStream_t stream) const {
        const Rows in = in_.rows.slice(0, num_rows), out = out_.rows.slice(0, num_rows),
                   more = more_.rows.slice(0, num_rows);
        if (op == "clear") {
            check(cudaMemsetAsync(out.data, 0, at(num_rows * out.num_cols * bytes_of(out.dtype)), stream),
                  "clearing rows");
        } else if (op == "add" || op == "reduce_scatter") {
            const std::array parts{in, more};
            device::sum_rows(stream, parts, out);
        } else if (op == "unpack_sum") {
            device::unpack_sum(stream, in_.rows, starts_.data(), index_.data(), &more, nullptr, out);
        } else if (op == "swiglu") {
            device::swiglu(stream, in.columns(0, in.num_cols / 2 * 2), out.columns(0, in.num_cols / 2));
        } else if (op == "rms_norm") {
            device::rms_norm(stream, in, more_.rows.slice(0, 1), 1e-6, out);
        } else if (op == "rope") {
            // Heads of nothing but rotated columns.
            const std::int64_t pairs = std::min(kRopePairs, out.num_cols / 2);
            if (pairs > 0)
                device::rope(stream, out, index_.data(), cos_sin_.data(), pairs, out.num_cols / (2 * pairs),
                             2 * pairs, 0);
        } else if (op == "local_reduce") {
            device::local_reduce(stream, in_.rows, starts_.data(), index_.data(), weights_.data(), out);
        } else {
            device::gather_rows(stream, in_.rows, index_.data(), out);
        }
    }

  private:
    static constexpr std::int64_t kRopePairs = 32;

    // Neighbours in one place are strangers in the other.
    static std::vector<std::int32_t> strangers(std::int64_t size) {
        std::vector<std::int32_t> index(at(size));
        for (std::int64_t i = 0; i < size; ++i) index[at(i)] = static_cast<std::int32_t>((i * 7919) % size);
        return index;
    }
    static std::vector<std::int32_t> ascending(std::int64_t size) {
        std::vector<std::int32_t> values(at(size));
        std::iota(values.begin(), values.end(), 0);
        return values;
    }

    DeviceMatrix in_, more_, out_;
    DeviceList<std::int32_t> index_, starts_;
    DeviceList<float> weights_, cos_sin_;
};

/// The work of an index op on the device, and launches of it.
class IndexOps {
  public:
    explicit IndexOps(const IndexWork& work)
        : work_(work),
          num_ids_(std::ssize(work.ids)),
          ids_(work.ids),
          counts_(work.counts),
          slots_(work.slots),
          weights_(work.weights),
          part_begin_(parts_of(work.block)),
          bounds_(bounds_of(work.block)),
          made_counts_(work.block.num_experts * 3),
          made_slots_(num_ids_ * work.block.slot_columns()),
          order_(num_ids_ + 1),
          starts_(num_ids_ + 2),
          index_(num_ids_ + 1),
          reduced_(num_ids_ + 1),
          workspace_(
              static_cast<std::int64_t>(device::map_workspace_bytes(block(true), work.num_tokens, 2))) {}

    void enqueue(std::string_view op, cudaStream_t stream) const {
        const device::DeviceReduceMaps reduce{starts_.data(), index_.data(), reduced_.data()};
        if (op == "route") {
            device::route(stream, block(false), ids_.data(), weights_.data(), work_.num_tokens,
                          made_counts_.data(), order_.data(), made_slots_.data(), workspace_.data());
        } else if (op == "map_home") {
            device::map_home(stream, block(true), ids_.data(), work_.num_tokens, starts_.data(),
                             index_.data(), workspace_.data());
        } else if (work_.travels) {
            device::map_rows(stream, block(true), 0, counts_.data(), 2, slots_.data(), work_.num_arrived,
                             work_.num_tokens, work_.num_arrived, order_.data(), reduce, workspace_.data());
        } else {
            device::map_rows_at_home(stream, block(false), ids_.data(), weights_.data(), work_.num_tokens,
                                     order_.data(), reduce, workspace_.data());
        }
    }

  private:
    device::Block block(bool with_bounds) const {
        const routing::BlockShape& shape = work_.block;
        return {.num_experts = shape.num_experts,
                .num_parts = shape.num_parts,
                .num_shards = shape.num_shards,
                .top_k = shape.top_k,
                .num_chunks = 1,
                .part_begin = part_begin_.data(),
                .chunk_bounds = with_bounds ? bounds_.data() : nullptr,
                .dedup = true,
                .per_chunk = false};
    }
    static std::vector<std::int32_t> parts_of(const routing::BlockShape& shape) {
        std::vector<std::int32_t> begin;
        for (std::int64_t p = 0; p < shape.num_parts; ++p)
            begin.push_back(static_cast<std::int32_t>(shape.experts_of(p).begin));
        begin.push_back(static_cast<std::int32_t>(shape.num_experts));
        return begin;
    }
    static std::vector<std::int32_t> bounds_of(const routing::BlockShape& shape) {
        std::vector<std::int64_t> bounds;
        routing::divide_evenly(shape, 1, bounds);
        return {bounds.begin(), bounds.end()};
    }

    const IndexWork& work_;
    std::int64_t num_ids_;
    DeviceList<std::int32_t> ids_, counts_, slots_;
    DeviceList<float> weights_;
    DeviceList<std::int32_t> part_begin_, bounds_, made_counts_, made_slots_, order_, starts_, index_;
    DeviceList<float> reduced_;
    DeviceList<std::byte> workspace_;
};

class CudaMicroBench : public MicroBench {
  public:
    explicit CudaMicroBench(const MicroBenchSetup& setup) : setup_(setup) {}

    Grain grain(const cost::Calibration& made) const override {
        Grain grain{.second_size = 64,
                    .step = 2,
                    .group_sizes = {1, 4, 16, 40, 80, 160},
                    .most_group_rows = 1 << 17,
                    .exchange_burst_s = 5e-3,
                    .loss_bytes = 32 << 20,
                    .loss_stretch_s = 60e-3};
        // Wide enough for the GPU, not the host, to be what a pass waits for, where the model is.
        if (setup_.spec->n_routed_experts > 0) {
            grain.layer_hidden = setup_.spec->hidden_size;
            grain.layer_width = setup_.spec->moe_intermediate_size;
            grain.layer_tokens = 16384;
        }
        if (!made.dtypes.empty()) grain.layer_dtype = made.dtypes.front().dtype;
        return grain;
    }

    // What GroupGemm does not take goes as DenseGemm does (kernels/cuda/gemms.hpp).
    bool kinds_differ(const cost::Wanted& w) const override {
        return w.dtype == DType::bf16 && w.k % 8 == 0 && w.n % 8 == 0;
    }

    bool with_swiglu(const cost::Wanted& w, plan::GemmKind kind) const override {
        return kind == plan::GemmKind::group && w.gate_up && kinds_differ(w) &&
               device::is_interleaved(w.dtype, w.n);
    }

    SecondsAt linear(const cost::Wanted& w) override {
        const auto weights = std::make_shared<WeightsInTurn>(setup_, w, 1);
        const auto in = std::make_shared<DeviceMatrix>(w.dtype, w.most, w.k);
        const auto out = std::make_shared<DeviceMatrix>(w.dtype, w.most, w.n);
        const auto products = std::make_shared<Products>(1);
        return [this, weights, in, out, products](std::int64_t rows) {
            return clock_.seconds_of([&] {
                products->gemms.linear(clock_.stream(), in->rows.slice(0, rows), weights->next(), nullptr,
                                       out->rows.slice(0, rows));
            });
        };
    }

    ExpertSeconds experts(const cost::Wanted& w, std::int64_t most_experts, std::int64_t most_rows) override {
        const auto weights = std::make_shared<WeightsInTurn>(setup_, w, most_experts);
        const auto in = std::make_shared<DeviceMatrix>(w.dtype, most_rows, w.k);
        const auto out = std::make_shared<DeviceMatrix>(w.dtype, most_rows, w.n);
        const auto products = std::make_shared<Products>(std::max(most_experts, weights->size()));
        return [this, w, weights, in, out, products](plan::GemmKind kind, std::int64_t num_experts,
                                                     std::int64_t rows) {
            Rows to = out->rows;  // half as wide behind SwiGLU
            const auto then = with_swiglu(w, kind) ? device::Then::swiglu : device::Then::nothing;
            if (then == device::Then::swiglu) to.num_cols = to.stride = w.n / 2;
            const auto run_as =
                kind == plan::GemmKind::dense ? kernels::GemmKind::dense : kernels::GemmKind::group;
            device::Gemms& gemms = products->gemms;
            std::vector<device::ExpertShare> experts(at(num_experts));
            const auto take_next = [&] {
                for (std::int64_t e = 0; e < num_experts; ++e)
                    experts[at(e)] = {weights->next().data, {e * rows, (e + 1) * rows}};
            };
            // As in a pass: the lists of grouped products are there beforehand.
            std::vector<device::Gemms::Listed> listed;
            gemms.begin_lists(products->lists.data());
            const std::int64_t num_lists = std::clamp<std::int64_t>(weights->size() / num_experts, 1, 256);
            for (std::int64_t i = 0; i < num_lists; ++i) {
                take_next();
                const auto product =
                    gemms.list(device::Gemms::kFirstList, in->rows, experts, run_as, to, then);
                if (!product) break;
                listed.push_back(*product);
            }
            if (listed.empty())
                return clock_.seconds_of([&] {
                    take_next();
                    gemms.expert_gemm(clock_.stream(), in->rows, experts, run_as, out->rows);
                });
            gemms.send_lists(clock_.stream());
            std::size_t next = 0;
            return clock_.seconds_of([&] { gemms.run(clock_.stream(), listed[next++ % listed.size()]); });
        };
    }

    SecondsAt gate(const cost::Wanted& w) override {
        const kernels::GateArgs args = gate_args(*setup_.spec);
        const auto in = std::make_shared<DeviceMatrix>(w.dtype, w.most, w.k);
        const auto router = std::make_shared<DeviceMatrix>(w.dtype, w.n, w.k, 0.02F);
        const auto logits = std::make_shared<DeviceList<float>>(w.most * w.n);
        const auto ids = std::make_shared<DeviceList<std::int32_t>>(w.most * args.top_k);
        const auto weights = std::make_shared<DeviceList<float>>(w.most * args.top_k);
        const auto products = std::make_shared<Products>(1);
        return [this, args, in, router, logits, ids, weights, products](std::int64_t rows) {
            const std::int64_t num_experts = router->rows.num_rows;
            const Rows out{reinterpret_cast<std::byte*>(logits->data()), DType::f32, rows, num_experts,
                           num_experts};
            return clock_.seconds_of([&] {
                products->gemms.linear(clock_.stream(), in->rows.slice(0, rows), router->rows, nullptr, out);
                device::gate_choice(clock_.stream(), logits->data(), rows, num_experts, args, ids->data(),
                                    weights->data());
            });
        };
    }

    // Of several sequences at once, as in a pass: one alone might not fill the GPU.
    SecondsAt attention(const cost::Wanted& w) override {
        const kernels::AttentionArgs args = attention_args(*setup_.spec, w.k / setup_.spec->v_head_dim);
        const std::int64_t most_tokens = std::max<std::int64_t>(w.most, 16384);
        const std::int64_t kv_cols = args.num_heads * (args.nope_dim + args.v_dim);
        const auto q = std::make_shared<DeviceMatrix>(w.dtype, most_tokens, w.n);
        const auto kv = std::make_shared<DeviceMatrix>(w.dtype, most_tokens, kv_cols);
        const auto k_rope = std::make_shared<DeviceMatrix>(w.dtype, most_tokens, args.rope_dim);
        const auto out = std::make_shared<DeviceMatrix>(w.dtype, most_tokens, w.k);
        const auto plans = std::make_shared<device::Attention>(args, w.dtype);
        return [this, most_tokens, q, kv, k_rope, out, plans](std::int64_t tokens) {
            const std::int64_t num_sequences = std::clamp<std::int64_t>(most_tokens / tokens, 1, 16);
            std::vector<std::int64_t> starts;
            for (std::int64_t i = 0; i <= num_sequences; ++i) starts.push_back(i * tokens);
            const std::int64_t all = starts.back();
            const DeviceBytes scratch(plans->prepare(starts), "attention's scratch");
            return clock_.seconds_of([&] {
                plans->run(clock_.stream(), q->rows.slice(0, all), kv->rows.slice(0, all),
                           k_rope->rows.slice(0, all), starts, out->rows.slice(0, all), scratch.data());
            }) / static_cast<double>(num_sequences);
        };
    }

    SecondsAt memory_op(std::string_view op, DType dtype, std::int64_t cols, std::int64_t most_rows,
                        bool /*on_exchange_lane*/) override {
        const auto ops = std::make_shared<MemoryOps>(dtype, most_rows, cols);
        return [this, ops, name = std::string(op)](std::int64_t rows) {
            return clock_.seconds_of([&] { ops->enqueue(name, rows, clock_.stream()); });
        };
    }

    double index_op(std::string_view op, const IndexWork& work) override {
        const IndexOps ops(work);
        return clock_.seconds_of([&] { ops.enqueue(op, clock_.stream()); });
    }

    std::unique_ptr<ExchangeBench> exchanges(comm::Communicator& ranks, std::int64_t most_bytes) override {
        return make_exchange_bench(ranks, setup_.transports, most_bytes);
    }
    std::unique_ptr<BusyLane> keep_busy() override { return make_busy_lane(setup_.device); }
    std::unique_ptr<Group> load(const Cases& cases, const checkpoint::WeightSource& source) override {
        return setup_.load(cases, source);
    }

  private:
    MicroBenchSetup setup_;
    LaunchClock clock_;
};

}  // namespace

DeviceMatrix::DeviceMatrix(DType dtype, std::int64_t num_rows, std::int64_t num_cols, float deviation)
    : bytes(num_rows * num_cols * bytes_of(dtype), "what is measured"),
      rows{bytes.data(), dtype, num_rows, num_cols, num_cols} {
    if (bytes.size() > 0) device::fill_normal(nullptr, 1, 0, deviation, num_cols, 0, 0, rows);
}

std::unique_ptr<MicroBench> make_micro_bench(const MicroBenchSetup& setup) {
    return std::make_unique<CudaMicroBench>(setup);
}

}  // namespace eps::backend::cuda
