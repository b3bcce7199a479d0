#include "backend/calibrate.hpp"

#include "comm/collectives.hpp"

#include <algorithm>

namespace eps::backend {

Measurement::Measurement(const CalibrationSetup& setup, const std::string& what, comm::Waits waits)
    : OpInProgress(setup.board, comm::ProgressBoard::kMaxLanes - 1, "",
                   setup.board == nullptr ? "" : setup.board->kept(what), comm::ProgressBoard::kNoPlan,
                   waits) {}

cost::Calibration measure(const CalibrationSetup& setup, const cost::Measured& measured,
                          const std::vector<cost::Wanted>& wanted, const cost::Calibration* known) {
    cost::Calibration tables;
    tables.measured = measured;
    for (const cost::Wanted& w : wanted) {
        if (w.what == cost::Asked::exchange) continue;
        auto of_dtype = std::ranges::find(tables.dtypes, w.dtype, &cost::DTypeTimes::dtype);
        if (of_dtype == tables.dtypes.end()) {
            tables.dtypes.emplace_back().dtype = w.dtype;
            of_dtype = tables.dtypes.end() - 1;
        }
        {
            const Measurement waiting(setup, "barrier before " + described(w), comm::Waits::for_peers);
            setup.world->barrier();  // all ranks measure the same at once
        }
        measure_ops(setup, w, *of_dtype);
    }
    cost::Calibration made = known != nullptr ? *known : tables;
    merge_tables(made, tables);
    if (made.dtypes.empty()) made.dtypes.emplace_back();
    made.about = "measured on this machine";
    const auto exchanges = std::ranges::find(wanted, cost::Asked::exchange, &cost::Wanted::what);
    if (known == nullptr || exchanges != wanted.end()) {
        measure_exchanges(setup, exchanges != wanted.end() ? exchanges->most : 1 << 16, made);
        measure_overheads(setup, made);
    }
    const std::string text = comm::broadcast_string(*setup.world, 0, cost::to_json(made));
    return cost::read_calibration(text, "the calibration of rank 0");
}

}  // namespace eps::backend
