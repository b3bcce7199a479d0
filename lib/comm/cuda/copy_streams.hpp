// The streams beside a lane on which the large copies of an exchange go, to several peers at once: one copy
// engine alone does not fill the way out. For files of this folder.
#pragma once

#include "base/range.hpp"

#include <algorithm>
#include <array>
#include <cstdint>

struct CUevent_st;
struct CUstream_st;

namespace eps::comm::cuda {

class CopyStreams {
  public:
    CopyStreams();
    ~CopyStreams();
    CopyStreams(const CopyStreams&) = delete;
    CopyStreams& operator=(const CopyStreams&) = delete;

    /// Whether so few bytes better go on the lane itself: more streams would cost more than they bring.
    static bool stay_on_lane(std::int64_t bytes) { return bytes < 32'000'000; }

    /// The copies that follow, to so many peers, begin after what is on `lane` now.
    void begin(CUstream_st* lane, std::int64_t num_peers);

    /// Calls `copy(part, stream)` for the parts of a message, each with the stream for it.
    template <typename Copy>
    void split(std::int64_t bytes, Copy copy) {
        constexpr std::int64_t kUnit = 4096;  // where parts begin
        const std::int64_t num_units = (bytes + kUnit - 1) / kUnit;
        for (std::int64_t i = 0; i < num_parts_; ++i) {
            const Range units = part_of(num_units, num_parts_, i);
            if (!units.empty()) copy(Range{units.begin * kUnit, std::min(units.end * kUnit, bytes)}, next());
        }
    }

    /// What follows on the lane waits for all copies.
    void join();

  private:
    static constexpr std::int64_t kMost = 3;
    CUstream_st* next();

    std::array<CUstream_st*, kMost> streams_ = {};
    std::array<CUevent_st*, kMost> ends_ = {};
    CUevent_st* begin_ = nullptr;
    CUstream_st* lane_ = nullptr;
    std::int64_t num_used_ = 0;   // streams of this exchange
    std::int64_t num_parts_ = 1;  // of every message
    std::int64_t turn_ = 0;
};

}  // namespace eps::comm::cuda
