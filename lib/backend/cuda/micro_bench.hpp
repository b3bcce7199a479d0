// The GPU's part in a calibration: its kernels by events around many launches, its exchanges and its lanes.
#pragma once

#include "backend/cuda/devices.hpp"
#include "backend/cuda/memory.hpp"
#include "backend/micro_bench.hpp"
#include "base/rows.hpp"
#include "model/spec.hpp"

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace eps::backend::cuda {

struct MicroBenchSetup {
    const model::ModelSpec* spec = nullptr;
    Device device;
    bool beyond_caches = false;           // weights come from memory, not from the L2 cache
    std::vector<std::string> transports;  // that all ranks can use; the one that `auto` takes first
    std::function<std::unique_ptr<Group>(const Cases&, const checkpoint::WeightSource&)> load;
};

std::unique_ptr<MicroBench> make_micro_bench(const MicroBenchSetup& setup);

/// Normals with this deviation: constant rows would draw less power and flatter the clocks.
struct DeviceMatrix {
    DeviceBytes bytes;
    Rows rows;

    DeviceMatrix(DType dtype, std::int64_t num_rows, std::int64_t num_cols, float deviation = 1);
};

// Its parts. Exchanges are collective over `ranks`, from the bench's making to its end.
std::unique_ptr<ExchangeBench> make_exchange_bench(comm::Communicator& ranks,
                                                   const std::vector<std::string>& transports,
                                                   std::int64_t most_bytes);
std::unique_ptr<BusyLane> make_busy_lane(const Device& device);

}  // namespace eps::backend::cuda
