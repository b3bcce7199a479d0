// GEMM time of every group of neighbouring experts under a load, by either kind: what the choice of chunks
// asks for most often.
#pragma once

#include "base/range.hpp"
#include "cost/op_times.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace eps::cost {

struct SecondsByKind {
    double group = 0;
    double dense = 0;
};
inline SecondsByKind operator+(SecondsByKind a, SecondsByKind b) {
    return {a.group + b.group, a.dense + b.dense};
}
inline SecondsByKind operator-(SecondsByKind a, SecondsByKind b) {
    return {a.group - b.group, a.dense - b.dense};
}
inline SecondsByKind operator*(double factor, SecondsByKind a) {
    return {factor * a.group, factor * a.dense};
}

/// gate_up and down of an expert [2 * width, hidden], [hidden, width].
class ExpertTimes {
  public:
    /// `most_experts`: of a chunk.
    ExpertTimes(const OpTimes& times, std::int64_t hidden, std::int64_t width, std::int64_t most_experts);

    /// The load: rows of each expert. Allocates nothing once it has seen as many experts.
    void set_rows(std::span<const std::int64_t> rows);

    /// Both GEMMs of these experts (places in `rows`), as one chunk.
    SecondsByKind seconds(Range experts) const;

    /// The same of experts whose rows lie between consecutive `offsets`, whatever the load.
    SecondsByKind seconds(std::span<const std::int64_t> offsets) const;

  private:
    template <typename Sum>
    SecondsByKind of_chunk(std::int64_t num_busy, Place longest, Sum&& sum) const;

    std::vector<double> grid_;                         // numbers of rows, ascending
    std::vector<std::int64_t> group_sizes_;            // numbers of experts side by side, ascending
    std::vector<std::vector<SecondsByKind>> seconds_;  // [group size][place of the grid]: of one expert

    // Under the load.
    std::vector<std::int64_t> rows_;
    std::vector<Place> places_;                       // of rows_ in the grid
    std::vector<std::vector<SecondsByKind>> before_;  // [group size][expert + 1]: running sums
};

}  // namespace eps::cost
