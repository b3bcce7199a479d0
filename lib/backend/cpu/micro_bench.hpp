// The CPU's part in a calibration: its kernels, its exchanges and its lanes.
#pragma once

#include "backend/micro_bench.hpp"
#include "comm/communicator.hpp"
#include "kernels/kernels.hpp"
#include "model/spec.hpp"

#include <functional>
#include <memory>

namespace eps::backend::cpu {

struct MicroBenchSetup {
    const kernels::Kernels* kernels = nullptr;
    const model::ModelSpec* spec = nullptr;  // of attention and gates
    int threads = 1;                         // of the compute lane
    bool beyond_caches = false;              // weights come from memory, not from caches
    std::function<std::unique_ptr<Group>(const Cases&, const checkpoint::WeightSource&)> load;
};

/// So many bytes are used between two uses of the same ones, where they are to come from memory.
constexpr std::int64_t kBeyondCaches = 64 << 20;

std::unique_ptr<MicroBench> make_micro_bench(const MicroBenchSetup& setup);

// Its parts.
std::unique_ptr<ExchangeBench> make_exchange_bench(comm::Communicator& ranks);
std::unique_ptr<BusyLane> make_busy_lane(const MicroBenchSetup& setup);

}  // namespace eps::backend::cpu
