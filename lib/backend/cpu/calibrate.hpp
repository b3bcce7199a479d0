// Measures a calibration on the CPU backend: its kernels, its exchanges and its lanes, on all ranks side by
// side.
#pragma once

#include "comm/communicator.hpp"
#include "cost/calibration.hpp"
#include "cost/wanted.hpp"
#include "kernels/kernels.hpp"
#include "model/spec.hpp"

#include <vector>

namespace eps::backend::cpu {

struct CalibrationSetup {
    comm::Communicator* world = nullptr;
    const kernels::Kernels* kernels = nullptr;
    const model::ModelSpec* spec = nullptr;  // of attention and gates
    int threads = 1;                         // of the compute lane
    bool beyond_caches = false;              // weights come from memory, not from caches
};

/// So many bytes are used between two uses of the same ones, where they are to come from memory.
constexpr std::int64_t kBeyondCaches = 64 << 20;

/// `known` (may be null) with what `wanted` names beside it, or with new figures of it; what every
/// calibration has (exchanges, overheads) is measured if `known` is null or exchanges are wanted. Every rank
/// gives the same. Collective; the same on every rank: what rank 0 measured.
cost::Calibration measure(const CalibrationSetup& setup, const cost::Measured& measured,
                          const std::vector<cost::Wanted>& wanted, const cost::Calibration* known);

// Its parts, each on the calling rank.
void measure_ops(const CalibrationSetup& setup, const cost::Wanted& wanted, cost::DTypeTimes& times);
void measure_exchanges(const CalibrationSetup& setup, std::int64_t most_bytes, cost::Calibration& made);
void measure_gemm_loss(const CalibrationSetup& setup, cost::Calibration& made);
void measure_overheads(const CalibrationSetup& setup, cost::Calibration& made);

}  // namespace eps::backend::cpu
