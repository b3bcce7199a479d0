// "auto": the chunks of an experts segment and the GEMM kind of each, by predicted time under the load that
// the gate really produced.
//
// The paper (arXiv 2410.12247, section 5.2) models overhead as kN + b and finds N* = sqrt(C / k), where C is
// the less of communication and computation. Here k and b are measured, N* bounds the search, and among the
// candidates with about the shortest predicted pipeline the one with the fewest chunks wins, even ones before
// those that are balanced by rows.
#pragma once

#include "base/link.hpp"
#include "cost/expert_times.hpp"
#include "cost/op_times.hpp"
#include "cost/pipeline.hpp"
#include "routing/row_maps.hpp"

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace eps::cost {

/// What of a case the choice depends on: the same on every rank.
struct ExpertLayer {
    routing::BlockShape block;
    std::int64_t hidden = 0;
    std::int64_t width = 0;         // of an expert's widest shard
    std::int64_t shared_width = 0;  // of the shared experts together; 0: none
    DType dtype = DType::f32;
    bool dedup = true;
    std::optional<plan::GemmKind> gemm;  // empty: by load
    std::optional<Link> link = {};       // an emulated or modelled wire
    std::string transport = {};          // of its exchanges, by the calibration's name; empty: its first
};

struct Prediction {
    std::int64_t num_chunks = 1;
    double overlapped_s = 0;  // from known counts to the last row summed at home
    double serial_s = 0;      // the same, each op after the one before
};

/// More chunks than needed for so small a share of the time are not worth the error of the model.
constexpr double kNotWorthwhile = 0.0025;

/// In a pass computing takes up to so many times as long as its tables say (caches, clocks, neighbours): a
/// choice has to be good at both rates, so candidates are compared by the mean of the two.
constexpr double kComputeSpread = 1.25;

/// Keeps scratch memory: warm calls allocate nothing. All arithmetic as in time_table.hpp.
class Chooser {
  public:
    /// `times` is copied.
    Chooser(const OpTimes& times, const ExpertLayer& layer);
    Chooser(const Chooser&) = delete;  // refers to its copy
    Chooser& operator=(const Chooser&) = delete;

    /// Writes the bounds of the chunks (routing::Chunks) that `counts` of the whole block ask for: the fewest
    /// whose overlapped time, averaged over both rates of computing, is within kNotWorthwhile of the least.
    void choose(const routing::CountsView& counts, std::vector<std::int64_t>& bounds);

    /// For given chunks.
    Prediction predict(const routing::CountsView& counts, const std::vector<std::int64_t>& bounds);

    /// Kind of one chunk, whose experts' rows lie between consecutive `offsets`: GroupGemm if both take as
    /// long.
    plan::GemmKind kind_of(std::span<const std::int64_t> offsets) const;

  private:
    // Of a range of experts, from all sources.
    struct Load {
        std::int64_t rows = 0;
        std::int64_t out = 0, own_out = 0;    // rows that travel to one shard; of these from a rank to itself
        std::int64_t home = 0, own_home = 0;  // sums that go home
    };
    Load load_of(Range experts) const;

    void take_load(const routing::CountsView& counts);
    void price_around_chunks(double most_tokens);
    void divide_by_rows(std::int64_t num_chunks, std::vector<std::int64_t>& bounds) const;
    void divide(std::int64_t num_chunks, bool by_rows, std::vector<std::int64_t>& bounds) const;
    SecondsByKind mlp_seconds(SecondsByKind gemms, double rows) const;
    double compute_seconds(Range experts, const Load& load) const;
    ExchangeWork exchange(double most_received, double most_sent, double most_own) const;
    void price(const std::vector<std::int64_t>& bounds);
    double predicted(const std::vector<std::int64_t>& bounds);
    double expected(const std::vector<std::int64_t>& bounds);
    std::int64_t most_chunks() const;

    OpTimes times_;
    ExpertLayer layer_;
    ExpertTimes gemms_;                                    // under the load of the block
    MessageTimes messages_;                                // of an exchange of the block
    const TimeTable *pack_, *gather_, *swiglu_, *reduce_;  // of every chunk; nullptr: not measured
    bool swiglu_in_group_, swiglu_in_dense_;               // its time is part of the products'
    Pipeline pipeline_;
    double row_bytes_ = 0;

    std::vector<std::int64_t> rows_;  // per expert of the block
    std::vector<Load> before_;        // [expert + 1]: of all experts before it
    double most_sent_share_ = 0;      // of all rows to other ranks, by one source

    SegmentWork work_;  // of the division priced last; what does not depend on it, of the load
    struct Candidate {
        std::int64_t num_chunks;
        bool by_rows;
        double seconds;
    };
    std::vector<Candidate> candidates_;
};

}  // namespace eps::cost
