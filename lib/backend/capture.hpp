// What a pass computed, row by row, brought to one place: pieces as each rank holds them, put together in
// batch order.
#pragma once

#include "backend/executor.hpp"
#include "base/range.hpp"
#include "plan/plan.hpp"
#include "schedule/tables.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <utility>
#include <vector>

namespace eps::backend {

enum class Tensor : std::int32_t {
    embed,         // rows that enter the first layer (scope model)
    hidden,        // after a decoder layer
    topk_ids,      // of a MoE layer
    topk_weights,  // of a MoE layer
    logits,        // one row per sequence
};

/// Which rows are kept: global tokens, or for logits sequences. Ranges are disjoint.
using WantedRows = std::function<std::vector<Range>(Tensor tensor, std::int64_t layer)>;

/// Rows of one rank; f32 whatever the dtype was (ids as i32). Observes a pass segment by segment.
class Capture {
  public:
    Capture(const schedule::Tables& tables, Executor& executor, WantedRows wanted)
        : tables_(tables), executor_(executor), wanted_(std::move(wanted)) {}

    void observe(const plan::Segment& segment);

    /// All pieces as bytes, for rank 0.
    std::span<const std::byte> bytes() const { return bytes_; }

  private:
    // Rows [0, count) of `buffer` from local row `first` on are global rows from `global` on.
    void keep(Tensor tensor, std::int64_t layer, plan::Slice from, std::int64_t global, Range columns);

    const schedule::Tables& tables_;
    Executor& executor_;
    WantedRows wanted_;
    std::vector<std::byte> bytes_;
};

/// The pieces of all ranks.
class Gathered {
  public:
    void add(std::span<const std::byte> bytes);

    /// Rows [begin, end) x all columns of a tensor; every value must be there (Error internal). `num_cols` as
    /// captured.
    std::vector<float> floats(Tensor tensor, std::int64_t layer, Range rows, std::int64_t num_cols) const;
    std::vector<std::int32_t> ints(Tensor tensor, std::int64_t layer, Range rows,
                                   std::int64_t num_cols) const;

  private:
    struct Piece {
        Range rows, columns;
        std::vector<std::byte> values;  // 4 bytes each
    };
    void copy(Tensor tensor, std::int64_t layer, Range rows, std::int64_t num_cols, std::byte* out) const;

    std::map<std::pair<Tensor, std::int64_t>, std::vector<Piece>> pieces_;
};

}  // namespace eps::backend
