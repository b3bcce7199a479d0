// How long the lanes of an experts segment take together: the paper's expert pipeline (section 4.3) as a
// short recurrence over chunks.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace eps::cost {

/// One exchange of all ranks, alone; its slowest rank's seconds.
struct ExchangeWork {
    double packing = 0;    // by the lane's processor, before anything travels
    double processor = 0;  // for moving bytes
    double beside = 0;     // the same while something is computed
    double wire = 0;       // meanwhile

    double alone() const { return packing + std::max(processor, wire); }
};

struct SegmentWork {
    std::int64_t num_parts = 1;
    std::int64_t num_chunks = 1;
    std::vector<ExchangeWork> dispatch, combine;  // per chunk
    std::vector<double> compute;                  // [part][chunk], from arrived rows to the sums that go home
    double before_s = 0;                          // dispatch lane, before the first chunk
    double covered_s = 0;                         // compute lane is busy at the start (shared experts)
    double home_maps_s = 0;                       // dispatch lane, after the last chunk
    double after_s = 0;                           // compute lane, when all has come home
    // Beside computation: how many times as long packing takes, and what computation loses meanwhile, in
    // seconds per second of the processor's work when alone.
    double slowdown = 1;
    double loss = 0;
};

/// Keeps scratch memory.
class Pipeline {
  public:
    /// Overlapped lanes: chunk after chunk is dispatched; each part computes a chunk once it has arrived and
    /// the one before is done; a chunk goes home when all parts have computed it. Exchanges of both lanes
    /// share the wire, whichever is ready first goes first.
    double overlapped(const SegmentWork& work);

  private:
    void run(const SegmentWork& work, const ExchangeWork& exchange, double start);

    std::vector<double> done_;   // [chunk][part]: computed
    std::int64_t computed_ = 0;  // chunks
    std::vector<double> free_;   // [part]: the compute lane
    double last_free_ = 0;       // of these
    double end_ = 0;             // of the exchange that ran last
};

/// Every op after the one before it.
double serial_seconds(const SegmentWork& work);

}  // namespace eps::cost
