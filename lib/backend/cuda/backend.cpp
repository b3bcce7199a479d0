#include "backend/cuda/backend.hpp"

#include "backend/calibrate.hpp"
#include "backend/cuda/devices.hpp"
#include "backend/cuda/executor.hpp"
#include "backend/cuda/micro_bench.hpp"
#include "backend/cuda/nvml.hpp"
#include "comm/back_off.hpp"
#include "comm/cuda/version.hpp"

#include <fmt/format.h>

namespace eps::backend::cuda {

namespace {

// What the CUDA context and libraries take beside what is planned here: kernels, their workspaces, NCCL's
// buffers.
constexpr std::int64_t kLibraryBytes = std::int64_t{1} << 30;

// Some ten milliseconds. No thread of a rank computes, and who sleeps wakes up to 150 us late: ranks would
// leave the barrier before a pass of few milliseconds as far apart.
constexpr int kYieldsBeforeSleep = 20'000;

class CudaGroup : public Group {
  public:
    CudaGroup(const BackendSetup& setup, const Cases& cases, const checkpoint::WeightSource& source)
        : setup_(setup),
          cases_(cases),
          weights_(cases.front()->tables().weights, cases.front()->tables().setup.dtype, source) {}

    Executor& start() override {
        executor_ = std::make_unique<CudaExecutor>(setup_, cases_, weights_, all_on_one_host(setup_));
        return *executor_;
    }
    bool weights_finite() const override { return weights_.finite(); }
    std::int64_t weight_bytes() const override { return weights_.bytes(); }

  private:
    const BackendSetup& setup_;
    Cases cases_;
    Weights weights_;
    std::unique_ptr<CudaExecutor> executor_;
};

class CudaBackend : public Backend {
  public:
    explicit CudaBackend(const BackendSetup& setup)
        : setup_(setup), device_(use_device(setup)), meter_(open_meter(device_.pci_address, device_.number)) {
        comm::yields_before_sleep = kYieldsBeforeSleep;
    }

    Libraries libraries(const std::vector<DType>& dtypes) const override;
    std::optional<std::string> device() const override { return device_.name; }
    std::vector<std::string> notes() const override;
    std::string transport(const schedule::Schedule& schedule) const override;
    Meter& meter() override { return *meter_; }
    std::string memory_name() const override {
        return fmt::format("GPU {} of host {}", device_.number, setup_.host);
    }
    std::int64_t available_bytes() const override { return free_bytes() - kLibraryBytes; }
    PredictedMemory predict(const Cases& cases) const override;
    std::unique_ptr<Group> load(const Cases& cases, const checkpoint::WeightSource& source) override {
        return std::make_unique<CudaGroup>(setup_, cases, source);
    }
    MeasuredOn measured_on() const override;
    cost::Calibration measure(const model::ModelSpec& spec, const cost::Measured& measured,
                              const std::vector<cost::Wanted>& wanted,
                              const cost::Calibration* known) override;

  private:
    bool shares_devices() const;

    BackendSetup setup_;
    Device device_;
    std::unique_ptr<Meter> meter_;
};

Libraries CudaBackend::libraries(const std::vector<DType>&) const {
    return {.blas = kernels::device::Gemms::describe(),
            .cuda = cuda_versions(),
            .nccl = comm::cuda::nccl_version()};
}

std::string CudaBackend::transport(const schedule::Schedule& schedule) const {
    if (setup_.world->size() == 1) return "";
    return schedule::name_of(transport_of(schedule, all_on_one_host(setup_)).kind);
}

bool CudaBackend::shares_devices() const {
    return setup_.num_local_ranks > device_.num_devices;
}

MeasuredOn CudaBackend::measured_on() const {
    const Libraries used = libraries({});
    return {.backend = "cuda",
            .device = fmt::format("{}{}", device_.model, shares_devices() ? ", shared by ranks" : ""),
            .libraries = fmt::format("{}; {}; {}", used.blas, *used.cuda, *used.nccl),
            .threads = 1,
            .cache_bytes = device_.cache_bytes};
}

cost::Calibration CudaBackend::measure(const model::ModelSpec& spec, const cost::Measured& measured,
                                       const std::vector<cost::Wanted>& wanted,
                                       const cost::Calibration* known) {
    const bool one_host = all_on_one_host(setup_);
    std::vector<std::string> transports;
    if (one_host) transports.emplace_back(schedule::name_of(schedule::Transport::copy_engine));
    if (!one_host || !shares_devices()) transports.emplace_back(schedule::name_of(schedule::Transport::nccl));
    const auto bench =
        make_micro_bench({.spec = &spec,
                          .device = device_,
                          .beyond_caches = measured.beyond_caches,
                          .transports = transports,
                          .load = [this](const Cases& cases, const checkpoint::WeightSource& source) {
                              return load(cases, source);
                          }});
    return backend::measure(
        {.world = setup_.world, .spec = &spec, .bench = bench.get(), .board = setup_.board}, measured, wanted,
        known);
}

std::vector<std::string> CudaBackend::notes() const {
    std::vector<std::string> notes;
    if (shares_devices())
        notes.push_back(
            fmt::format("{} ranks of a host share {} GPUs: no figure of this run tells how fast GPUs are",
                        setup_.num_local_ranks, device_.num_devices));
    return notes;
}

PredictedMemory CudaBackend::predict(const Cases& cases) const {
    const schedule::Tables& tables = cases.front()->tables();
    // Attention's scratch is known only when its plans are built: about the keys of all heads.
    std::int64_t keys = 0;
    for (const PassRunner* runner : cases)
        for (const auto& batch : runner->tables().micro_batches)
            keys = std::max(keys, batch.num_tokens() * tables.shards.heads.size() *
                                      tables.spec().qk_head_dim() * bytes_of(tables.setup.dtype));
    if (tables.setup.scope == schedule::Scope::moe) keys = 0;
    std::int64_t inputs = 0;
    for (const PassRunner* runner : cases) {
        for (const plan::Buffer& buffer : runner->plan().buffers)
            if (buffer.kind == plan::BufferKind::input) inputs += buffer.bytes();
        if (tables.setup.scope == schedule::Scope::model) continue;
        for (const auto& batch : runner->tables().micro_batches)  // the rows that passes begin with
            inputs += batch.num_tokens() * tables.spec().hidden_size * bytes_of(tables.setup.dtype);
    }
    Layout scratch;
    Scratch::take_fixed(cases, scratch);
    return {.weights = bytes_of_weights(tables.weights, tables.setup.dtype),
            .buffers = Rooms(cases, setup_.load_margin).bytes() + scratch.bytes() + keys + inputs,
            .loading = bytes_while_loading(tables.weights, tables.setup.dtype)};
}

}  // namespace

BackendEntry entry() {
    return {.make = [](const BackendSetup& setup) { return std::make_unique<CudaBackend>(setup); },
            .devices = device_list};
}

}  // namespace eps::backend::cuda
