#include "backend/cpu/backend.hpp"

#include "backend/calibrate.hpp"
#include "backend/cpu/executor.hpp"
#include "backend/cpu/micro_bench.hpp"
#include "backend/cpu/weights.hpp"
#include "kernels/cpu/ops.hpp"

#include <fmt/format.h>

namespace eps::backend::cpu {

namespace {

class CpuGroup : public Group {
  public:
    CpuGroup(const BackendSetup& setup, const kernels::Kernels& kernels, const Cases& cases,
             const checkpoint::WeightSource& source)
        : setup_(setup),
          kernels_(kernels),
          placement_(cases.front()->tables().setup.placement),
          weights_(cases.front()->tables().weights, cases.front()->tables().setup.dtype, source, kernels,
                   memory_) {}

    Executor& start() override {
        executor_ = std::make_unique<CpuExecutor>(ExecutorSetup{.world = setup_.world,
                                                                .weights = &weights_,
                                                                .kernels = &kernels_,
                                                                .memory = &memory_,
                                                                .threads = setup_.threads,
                                                                .board = setup_.board,
                                                                .on_failure = setup_.on_failure},
                                                  placement_);
        return *executor_;
    }
    bool weights_finite() const override { return weights_.finite(); }
    std::int64_t weight_bytes() const override { return weights_.bytes(); }

  private:
    const BackendSetup& setup_;
    const kernels::Kernels& kernels_;
    placement::Placement placement_;
    MemoryCount memory_;
    Weights weights_;
    std::unique_ptr<CpuExecutor> executor_;
};

class CpuBackend : public Backend {
  public:
    CpuBackend(const BackendSetup& setup, const kernels::Kernels& kernels)
        : setup_(setup), kernels_(kernels) {}

    Libraries libraries(const std::vector<DType>& dtypes) const override {
        std::string blas = kernels_.name;
        for (const DType dtype : dtypes)
            blas += fmt::format("; {} {}", name_of(dtype), kernels_.describe_gemm(dtype));
        return {.blas = blas, .cuda = {}, .nccl = {}};
    }
    std::string memory_name() const override { return "host " + setup_.host; }
    std::int64_t available_bytes() const override { return setup_.available_host_bytes; }
    PredictedMemory predict(const Cases& cases) const override {
        const schedule::Tables& tables = cases.front()->tables();
        const WeightBytes weights = bytes_of_weights(tables.weights, tables.setup.dtype, kernels_);
        return {.weights = weights.held,
                .buffers = buffer_bytes(cases),
                .loading = weights.most_while_loading - weights.held};
    }
    std::unique_ptr<Group> load(const Cases& cases, const checkpoint::WeightSource& source) override {
        return std::make_unique<CpuGroup>(setup_, kernels_, cases, source);
    }
    MeasuredOn measured_on() const override {
        return {.backend = "cpu",
                .device = {},
                .libraries = libraries({DType::f32, DType::bf16}).blas,
                .threads = setup_.threads,
                .cache_bytes = 4 << 20};  // about a core's share
    }
    cost::Calibration measure(const model::ModelSpec& spec, const cost::Measured& measured,
                              const std::vector<cost::Wanted>& wanted,
                              const cost::Calibration* known) override {
        const auto bench =
            make_micro_bench({.kernels = &kernels_,
                              .spec = &spec,
                              .threads = setup_.threads,
                              .beyond_caches = measured.beyond_caches,
                              .load = [this](const Cases& cases, const checkpoint::WeightSource& source) {
                                  return load(cases, source);
                              }});
        return backend::measure(
            {.world = setup_.world, .spec = &spec, .bench = bench.get(), .board = setup_.board}, measured,
            wanted, known);
    }

  private:
    BackendSetup setup_;
    const kernels::Kernels& kernels_;
};

}  // namespace

std::unique_ptr<Backend> make_backend(const BackendSetup& setup, const kernels::Kernels& kernels) {
    return std::make_unique<CpuBackend>(setup, kernels);
}

BackendEntry entry() {
    return {.make = [](const BackendSetup& setup) { return make_backend(setup, kernels::cpu_kernels()); },
            .devices = nullptr};
}

}  // namespace eps::backend::cpu
