// A small calibration made up for tests: round figures whose consequences can be reckoned by hand.
#pragma once

#include "cost/calibration.hpp"

namespace cost_tests {

using namespace eps::cost;

/// A straight line: fixed + size / rate, at powers of four from 1.
inline TimeTable line(double fixed_s, double per_unit_s) {
    TimeTable table;
    for (double size = 1; size <= 4194304; size *= 4) {
        table.sizes.push_back(size);
        table.seconds.push_back(fixed_s + size * per_unit_s);
    }
    return table;
}

/// Two experts' shapes, [8, 16] and [16, 4]; GroupGemm has no fixed cost, DenseGemm a small one and twice the
/// rate: the kinds meet at 100 rows. Exchanges: 10 us and 1 GB/s.
inline Calibration made_up() {
    using eps::plan::GemmKind;
    const auto experts = [](double group_s, double dense_s) {
        std::vector<ExpertGemmTimes> times;
        for (const std::int64_t n : {1, 4, 16})
            times.push_back({GemmKind::group, n, line(0, group_s * static_cast<double>(n))});
        for (const std::int64_t n : {1, 4, 16})
            times.push_back({GemmKind::dense, n,
                             line(dense_s * 100 * static_cast<double>(n), dense_s * static_cast<double>(n))});
        return times;
    };
    Calibration made;
    made.about = "made up";
    made.measured = {.machine = "paper",
                     .libraries = "none",
                     .ranks = 2,
                     .threads = 1,
                     .cores_shared = false,
                     .beyond_caches = false};
    made.op_overhead_s = 1e-6;
    made.lane_hop_s = 2e-6;
    made.chunk_overhead_s = 1e-5;
    made.segment_overhead_s = 2e-5;
    made.exchanges = {{"mpi", 1, line(1e-5, 1e-9), line(2e-5, 1e-9)},
                      {"mpi", 3, line(3e-5, 1e-9), line(6e-5, 1e-9)}};
    made.copy = line(1e-6, 1e-10);
    DTypeTimes times;
    times.dtype = eps::DType::f32;
    times.gemms = {{8, 16, line(1e-6, 1e-7), experts(2e-6, 1e-6)}, {16, 4, {}, experts(2e-6, 1e-6)}};
    times.gates = {{160, 16, line(1e-6, 1e-7)}};
    times.attentions = {{24, 16, line(1e-6, 1e-6)}};
    times.compute_ops = {{"swiglu", line(1e-6, 1e-9)}, {"pack_rows", line(1e-6, 1e-9)}};
    times.exchange_ops = {{"pack_rows", line(1e-6, 2e-9)}};
    made.dtypes = {times};
    return made;
}

}  // namespace cost_tests
