// What a backend provides to be calibrated: run this op or exchange, how long did it take. Which sizes are
// tried and what is made of the times is the same for all backends (calibrate.hpp).
#pragma once

#include "backend/backend.hpp"
#include "cost/wanted.hpp"
#include "plan/op.hpp"
#include "routing/row_maps.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace eps::backend {

/// Seconds of an op at a size, in memory that was taken for the largest.
using SecondsAt = std::function<double(std::int64_t size)>;
/// Seconds of the GEMMs of so many experts with so many rows each.
using ExpertSeconds = std::function<double(plan::GemmKind kind, std::int64_t num_experts, std::int64_t rows)>;

/// What `route`, `map_rows` and `map_home` work on: tokens of the first of two ranks (of one rank, where
/// nothing travels), already routed.
struct IndexWork {
    routing::BlockShape block;
    bool travels = true;
    std::int64_t num_tokens = 0;
    std::vector<std::int32_t> ids;  // [num_tokens, top_k]
    std::vector<float> weights;
    std::vector<std::int32_t> counts;  // [2 sources, experts, 3]; the second source sends nothing
    std::vector<std::int32_t> slots;   // [sent, slot_columns], part after part
    std::int64_t num_arrived = 0;      // of these, at the first part
};

/// An exchange of all ranks that can be repeated.
class RepeatedExchange {
  public:
    virtual ~RepeatedExchange() = default;
    /// So many, one after the other; returns when they are done. Collective.
    virtual void run(std::int64_t calls) = 0;
};

class ExchangeBench {
  public:
    virtual ~ExchangeBench() = default;
    /// The one that `auto` takes first; not empty.
    virtual std::vector<std::string> transports() const = 0;
    /// In which each rank sends `bytes` to each of the next `num_peers` ranks; with 0 peers to itself.
    /// Collective; one at a time.
    virtual std::unique_ptr<RepeatedExchange> make(const std::string& transport, std::int64_t num_peers,
                                                   std::int64_t bytes) = 0;
};

/// A compute lane that runs GEMMs as long as this lives.
class BusyLane {
  public:
    virtual ~BusyLane() = default;
    virtual std::int64_t num_done() const = 0;
};

/// How finely it pays to measure on this backend.
struct Grain {
    // Rows of GEMMs, gates and attention: 1, second_size, and on by the factor `step`.
    std::int64_t second_size = 4;
    std::int64_t step = 4;
    std::vector<std::int64_t> group_sizes;  // experts of a chunk, ascending; beyond a rank's left out
    std::int64_t most_group_rows = std::int64_t{1} << 40;  // of all experts of a chunk together

    double exchange_burst_s = 300e-6;   // exchanges are repeated for so long
    std::int64_t loss_bytes = 1 << 17;  // of the exchanges beside which lost computation is counted
    double loss_stretch_s = 6e-3;

    // The layer whose overheads are measured: 8 experts a rank.
    std::int64_t layer_hidden = 32, layer_width = 16, layer_tokens = 32;  // tokens of a rank
    DType layer_dtype = DType::f32;
};

/// On the calling rank; objects keep what they work on. One thread.
class MicroBench {
  public:
    virtual ~MicroBench() = default;
    /// `made`: what was measured so far.
    virtual Grain grain(const cost::Calibration& made) const = 0;

    // Fields of `wanted` mean what cost/wanted.hpp says; sizes go up to `most`.
    virtual SecondsAt linear(const cost::Wanted& wanted) = 0;  // of rows
    /// Whether GroupGemm and DenseGemm are different calls for these.
    virtual bool kinds_differ(const cost::Wanted& wanted) const = 0;
    /// Whether passes run these by `kind` together with SwiGLU; then experts() does so too.
    virtual bool with_swiglu(const cost::Wanted& wanted, plan::GemmKind kind) const = 0;
    /// For up to `most_experts` in a chunk, all their rows together up to `most_rows`.
    virtual ExpertSeconds experts(const cost::Wanted& wanted, std::int64_t most_experts,
                                  std::int64_t most_rows) = 0;
    virtual SecondsAt gate(const cost::Wanted& wanted) = 0;       // of rows
    virtual SecondsAt attention(const cost::Wanted& wanted) = 0;  // of one sequence's tokens

    /// An op of moved_columns() (calibrate.hpp) on rows of so many columns.
    virtual SecondsAt memory_op(std::string_view op, DType dtype, std::int64_t cols, std::int64_t most_rows,
                                bool on_exchange_lane) = 0;
    virtual double index_op(std::string_view op, const IndexWork& work) = 0;

    /// Messages of a rank up to `most_bytes` together. Collective.
    virtual std::unique_ptr<ExchangeBench> exchanges(comm::Communicator& ranks, std::int64_t most_bytes) = 0;
    virtual std::unique_ptr<BusyLane> keep_busy() = 0;
    /// As Backend::load.
    virtual std::unique_ptr<Group> load(const Cases& cases, const checkpoint::WeightSource& source) = 0;
};

}  // namespace eps::backend
