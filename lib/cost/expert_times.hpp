// GEMM time of every group of neighbouring experts under a load, by either kind, in constant time each: what
// the choice of chunks asks for most often.
#pragma once

#include "base/range.hpp"
#include "cost/op_times.hpp"

#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace eps::cost {

/// gate_up and down of an expert [2 * width, hidden], [hidden, width].
class ExpertTimes {
  public:
    ExpertTimes(const OpTimes& times, std::int64_t hidden, std::int64_t width);

    /// The load: rows of each expert. Allocates nothing once it has seen as many experts.
    void set_rows(std::span<const std::int64_t> rows);

    /// Both GEMMs of these experts (places in `rows`), as one chunk.
    double seconds(plan::GemmKind kind, Range experts) const;

  private:
    // Seconds of one expert beside others, at each row number of the grid.
    struct Beside {
        std::int64_t num_experts = 1;  // in all
        std::vector<double> seconds;   // per place of the grid
        std::vector<double> before;    // [expert + 1]: running sums under the load
    };

    // Where a number of rows lies in the grid: `share` of the way from the place below `above`; before the
    // first, or beyond the last, `share` times that one.
    struct Place {
        std::size_t above = 0;
        double share = 0;
    };

    Place place_of(std::int64_t num_rows) const;
    double one(const Beside& beside, Place place) const;

    std::vector<double> grid_;                  // numbers of rows, ascending
    std::array<std::vector<Beside>, 2> kinds_;  // by kind, ascending num_experts
    std::vector<std::int64_t> rows_;
    std::vector<Place> places_;              // of rows_
    std::vector<std::int64_t> busy_before_;  // [expert + 1]: experts with rows
};

}  // namespace eps::cost
