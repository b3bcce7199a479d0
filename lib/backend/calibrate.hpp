// Measures a calibration: the backend's ops, exchanges and lanes, on all ranks side by side.
#pragma once

#include "backend/micro_bench.hpp"
#include "comm/communicator.hpp"
#include "comm/progress.hpp"
#include "cost/calibration.hpp"
#include "cost/wanted.hpp"
#include "model/spec.hpp"

#include <string>
#include <vector>

namespace eps::backend {

struct CalibrationSetup {
    comm::Communicator* world = nullptr;
    const model::ModelSpec* spec = nullptr;  // of attention and gates
    MicroBench* bench = nullptr;
    comm::ProgressBoard* board = nullptr;  // may be null
};

/// `what` is being measured for as long as this lives: the board is told. Short: the time limit of ops holds.
class Measurement : public comm::OpInProgress {
  public:
    Measurement(const CalibrationSetup& setup, const std::string& what,
                comm::Waits waits = comm::Waits::for_nobody);
};

/// `known` (may be null) with what `wanted` names beside it, or with new figures of it; what every
/// calibration has (exchanges, overheads) is measured if `known` is null or exchanges are wanted. Every rank
/// gives the same. Collective; the same on every rank: what rank 0 measured.
cost::Calibration measure(const CalibrationSetup& setup, const cost::Measured& measured,
                          const std::vector<cost::Wanted>& wanted, const cost::Calibration* known);

/// How many times its columns a memory-bound op reads and writes of a row when it is measured; 0 for an op
/// that is not measured so.
double moved_columns(std::string_view op);

// Its parts, each on the calling rank.
void measure_ops(const CalibrationSetup& setup, const cost::Wanted& wanted, cost::DTypeTimes& times);
void measure_exchanges(const CalibrationSetup& setup, std::int64_t most_bytes, cost::Calibration& made);
void measure_overheads(const CalibrationSetup& setup, cost::Calibration& made);

}  // namespace eps::backend
