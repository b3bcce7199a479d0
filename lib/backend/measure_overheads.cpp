// Calibration of what a pass costs beside the work of its ops: a small experts segment is run in several
// numbers of chunks, and what its ops do not explain is overhead, kN + b.
#include "backend/calibrate.hpp"
#include "backend/expected.hpp"
#include "backend/inputs.hpp"
#include "checkpoint/synthetic.hpp"
#include "comm/collectives.hpp"
#include "cost/choose.hpp"
#include "schedule/check_input.hpp"

#include <algorithm>
#include <array>

namespace eps::backend {

namespace {

constexpr std::int64_t kExpertsOfRank = 8;

model::ModelSpec small_spec(std::int64_t num_ranks, const Grain& grain) {
    model::ModelSpec spec;
    spec.name = "calibration";
    spec.num_layers = spec.num_hidden_layers = 1;
    spec.hidden_size = grain.layer_hidden;
    spec.moe_intermediate_size = grain.layer_width;
    spec.n_routed_experts = kExpertsOfRank * num_ranks;
    spec.num_experts_per_tok = 2;
    return spec;
}

double median_of(std::vector<double> values) {
    if (values.empty()) return 0;
    std::ranges::sort(values);
    return values[values.size() / 2];
}

/// Traced passes of the small model, each with its experts in so many chunks.
class SmallPasses {
  public:
    SmallPasses(const CalibrationSetup& setup, const Grain& grain, std::span<const int> chunks)
        : world_(*setup.world),
          spec_(small_spec(world_.size(), grain)),
          prompts_(std::vector<std::int64_t>(at(world_.size()), grain.layer_tokens), 1) {
        prompts_.forced = workload::make_forced_routing(workload::UniformRouting{}, spec_, 1, {0},
                                                        prompts_.batch.num_tokens());
        const placement::Placement placement{.attention_dp = world_.size(), .ep = world_.size()};
        layout_ = placement::lay_out_tokens(placement, prompts_.batch.lengths, 1);
        Cases cases;
        for (const int num_chunks : chunks) {
            const schedule::PassSetup pass{.spec = &spec_,
                                           .layout = &layout_,
                                           .placement = placement,
                                           .schedule = {.chunk_by = schedule::ChunkBy::expert,
                                                        .chunks = num_chunks,
                                                        .overlap = true,
                                                        .gemm = schedule::GemmChoice::group},
                                           .scope = schedule::Scope::moe,
                                           .dtype = grain.layer_dtype,
                                           .forced_routing = true,
                                           .times = nullptr};
            runners_.push_back(std::make_unique<PassRunner>(pass, world_.rank()));
            lower_expected(prompts_, *runners_.back());
            cases.push_back(runners_.back().get());
        }
        source_ = checkpoint::synthetic_weights(spec_, 1);
        group_ = setup.bench->load(cases, *source_);
        executor_ = &group_->start();
        for (const auto& runner : runners_) {
            executor_->bind(runner->plan(), runner->tables());
            const Inputs* before = inputs_.empty() ? nullptr : inputs_.back().get();
            inputs_.push_back(std::make_unique<Inputs>(prompts_, *runner, before));
            inputs_.back()->write(*executor_);
        }
    }

    /// A pass, from known counts to the end, the slowest rank's; and the gaps between ops.
    double run(std::size_t pass, std::vector<double>& op_gaps, std::vector<double>& hop_gaps) {
        PassRunner& runner = *runners_[pass];
        executor_->bind(runner.plan(), runner.tables());
        inputs_[pass]->write_rows(*executor_);
        world_.barrier();
        runner.run(*executor_, true);
        std::vector<trace::Span> by_op(runner.plan().ops.size());
        for (const trace::Span& span : executor_->take_spans()) by_op[at(span.op)] = span;
        add_gaps(runner.plan(), by_op, op_gaps, hop_gaps);
        std::int64_t known_ns = 0, end_ns = 0;
        for (const trace::Span& span : by_op) {
            if (plan::kOpNames[at(span.kind)] == "exchange_counts") known_ns = span.end_ns;
            end_ns = std::max(end_ns, span.end_ns);
        }
        return comm::max_over_ranks(world_, static_cast<double>(end_ns - known_ns) * 1e-9);
    }

    cost::Prediction predict(std::size_t pass, const cost::OpTimes& times) const {
        const PassRunner& runner = *runners_[pass];
        const schedule::Tables& tables = runner.tables();
        cost::Chooser chooser(times, schedule::expert_layer(tables));
        std::vector<std::int64_t> bounds;
        routing::divide_evenly(tables.block, tables.num_chunks, bounds);
        return chooser.predict(schedule::view_of(tables, runner.counts().front().counts), bounds);
    }

  private:
    // From an op's being ready, by its lane or by an op of another lane, to its begin.
    static void add_gaps(const plan::RankPlan& plan, const std::vector<trace::Span>& by_op,
                         std::vector<double>& op_gaps, std::vector<double>& hop_gaps) {
        std::vector<std::int64_t> lane_end(plan.lanes.size(), 0);
        for (const plan::Op& op : plan.ops) {
            const trace::Span& span = by_op[at(op.id)];
            std::int64_t other_end = 0;
            for (std::int64_t i = op.after.begin; i < op.after.end; ++i)
                other_end = std::max(other_end, by_op[at(plan.after[at(i)])].end_ns);
            const std::int64_t own_end = lane_end[at(op.lane)];
            const bool hop = other_end > own_end;
            const std::int64_t gap = span.begin_ns - std::max(other_end, own_end);
            if (own_end > 0 && gap >= 0 && gap < 1'000'000)  // longer: it was not submitted yet
                (hop ? hop_gaps : op_gaps).push_back(static_cast<double>(gap) * 1e-9);
            lane_end[at(op.lane)] = span.end_ns;
        }
    }

    comm::Communicator& world_;
    model::ModelSpec spec_;
    Prompts prompts_;
    placement::TokenLayout layout_;
    std::vector<std::unique_ptr<PassRunner>> runners_;
    std::unique_ptr<checkpoint::WeightSource> source_;
    std::unique_ptr<Group> group_;
    Executor* executor_ = nullptr;
    std::vector<std::unique_ptr<Inputs>> inputs_;
};

}  // namespace

void measure_overheads(const CalibrationSetup& setup, cost::Calibration& made) {
    constexpr int kPasses = 11;
    constexpr std::array kChunks{1, 2, 4, 8};
    made.op_overhead_s = made.lane_hop_s = made.chunk_overhead_s = made.segment_overhead_s = 0;
    const cost::OpTimes times(made, made.dtypes.front().dtype, "this calibration");
    SmallPasses passes(setup, setup.bench->grain(made), kChunks);
    std::array<std::vector<double>, kChunks.size()> seconds;
    std::vector<double> op_gaps, hop_gaps;
    const bool chunked = setup.world->size() > 1;  // where nothing travels there is one
    // In turn, so that a machine that drifts does so for all; the first round warms up.
    for (int round = 0; round <= kPasses; ++round)
        for (std::size_t pass = 0; pass < (chunked ? kChunks.size() : 1); ++pass) {
            const double taken_s = passes.run(pass, op_gaps, hop_gaps);
            if (round > 0) seconds[pass].push_back(taken_s);
        }
    made.op_overhead_s = median_of(op_gaps);
    if (!chunked) return;
    made.lane_hop_s = std::max(0.0, median_of(hop_gaps) - made.op_overhead_s);
    // Least squares of the seconds that are left over, against the number of chunks.
    double n = 0, sum_x = 0, sum_y = 0, sum_xx = 0, sum_xy = 0;
    for (std::size_t pass = 0; pass < kChunks.size(); ++pass) {
        const double left_over = median_of(seconds[pass]) - passes.predict(pass, times).overlapped_s;
        const int num_chunks = kChunks[pass];
        n += 1, sum_x += num_chunks, sum_y += left_over, sum_xx += num_chunks * num_chunks,
            sum_xy += num_chunks * left_over;
    }
    const double slope = (n * sum_xy - sum_x * sum_y) / (n * sum_xx - sum_x * sum_x);
    made.chunk_overhead_s = std::max(1e-6, slope);
    made.segment_overhead_s = std::max(0.0, (sum_y - made.chunk_overhead_s * sum_x) / n);
}

}  // namespace eps::backend
