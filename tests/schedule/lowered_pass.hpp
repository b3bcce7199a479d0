// A whole pass lowered for every rank, from made-up choices of the gates: what checks and golden files look
// at.
#pragma once

#include "base/random.hpp"
#include "model/spec_json.hpp"
#include "schedule/check_input.hpp"
#include "schedule/lowering.hpp"
#include "schedule/strategies.hpp"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace schedule_tests {

/// A case in few words.
struct TestCase {
    std::string model = "{}";  // overrides of the preset tiny
    std::int64_t layers = 3;   // the first is dense
    eps::placement::Placement placement;
    eps::schedule::Schedule schedule;
    eps::schedule::Scope scope = eps::schedule::Scope::model;
    std::vector<std::int64_t> lengths{5, 3, 6};
    bool forced_routing = false;
    std::optional<eps::Link> link = {};
    const eps::cost::OpTimes* times = nullptr;  // that auto decides by
};

inline TestCase case_of(const std::string& strategy_name, std::int64_t world_size,
                        const std::string& base = "ep") {
    const eps::schedule::Strategy* strategy = eps::schedule::find_strategy(strategy_name);
    TestCase test;
    test.placement = strategy->placement(world_size, base);
    test.schedule = default_schedule(*strategy, test.placement);
    return test;
}

/// Distinct experts for each token, a function of layer and token; the first experts are chosen more often.
inline std::vector<std::int32_t> made_up_ids(const eps::model::ModelSpec& spec, std::int64_t layer,
                                             std::int64_t num_tokens) {
    std::vector<std::int32_t> ids;
    std::uint64_t drawn = 0;
    const std::uint64_t key = eps::stream_key(static_cast<std::uint64_t>(layer), "made-up choices");
    while (std::ssize(ids) < num_tokens * spec.num_experts_per_tok) {
        const double u = eps::random_uniform(key, drawn++);
        const auto id = static_cast<std::int32_t>(u * u * static_cast<double>(spec.n_routed_experts));
        const auto of_token = ids.end() - std::ssize(ids) % spec.num_experts_per_tok;
        if (std::find(of_token, ids.end(), id) == ids.end()) ids.push_back(id);
    }
    return ids;
}

class LoweredPass {
  public:
    explicit LoweredPass(const TestCase& test)
        : spec_(eps::model::load_preset("tiny", test.model, test.layers)),
          layout_(eps::placement::lay_out_tokens(test.placement, test.lengths, test.schedule.micro_batches)) {
        using namespace eps;
        setup_ = {&spec_,     &layout_,   test.placement,      test.schedule,
                  test.scope, DType::f32, test.forced_routing, test.link,
                  test.times};
        const Range layers = schedule::layers_of(setup_);
        for (std::int64_t layer = layers.begin; layer < layers.end; ++layer)
            for (std::int64_t m = 0; spec_.is_moe(layer) && m < test.schedule.micro_batches; ++m)
                gates_.push_back(schedule::gate_choices(
                    setup_, layer, m, made_up_ids(spec_, layer, layout_.sequence_starts.back())));
        for (std::int64_t rank = 0; rank < test.placement.world(); ++rank) {
            ranks_.push_back(std::make_unique<Rank>(setup_, rank));
            lower(*ranks_.back());
        }
    }
    LoweredPass(const LoweredPass&) = delete;
    LoweredPass& operator=(const LoweredPass&) = delete;

    const eps::plan::RankPlan& plan(std::int64_t rank) const {
        return ranks_[static_cast<std::size_t>(rank)]->builder.plan();
    }
    const eps::schedule::Tables& tables(std::int64_t rank) const {
        return ranks_[static_cast<std::size_t>(rank)]->tables;
    }
    const eps::model::ModelSpec& spec() const { return spec_; }

    eps::plan::PassUnderCheck under_check() const {
        std::vector<eps::schedule::LoweredRank> ranks;
        for (const auto& rank : ranks_) ranks.push_back({&rank->tables, &rank->builder.plan()});
        eps::plan::PassUnderCheck pass = eps::schedule::pass_under_check(ranks);
        pass.gates = gates_;
        return pass;
    }

    std::int64_t most_entries(std::int64_t rank) const {
        return ranks_[static_cast<std::size_t>(rank)]->lowering.most_entries();
    }
    /// Most numbers or transfers that one segment of the rank appended.
    std::int64_t most_appended(std::int64_t rank) const {
        return ranks_[static_cast<std::size_t>(rank)]->most_appended;
    }

    /// Lowers the pass of a rank once more, in the memory of the first time.
    void lower_again(std::int64_t rank) {
        Rank& again = *ranks_[static_cast<std::size_t>(rank)];
        again.builder.begin_pass();
        again.next_counts = 0;
        lower(again);
    }

  private:
    struct Rank {
        eps::plan::PlanBuilder builder;
        eps::schedule::Tables tables;
        eps::schedule::Lowering lowering;
        std::vector<eps::plan::Step> steps;
        std::vector<std::vector<std::int32_t>> counts;  // of the experts segments, in order
        std::size_t next_counts = 0;
        std::int64_t most_appended = 0;

        Rank(const eps::schedule::PassSetup& setup, std::int64_t rank)
            : tables(make_tables(setup, rank, builder)), lowering(tables, builder), steps(pass(tables)) {}
    };

    void lower(Rank& rank) {
        using namespace eps::plan;
        for (const Step& step : rank.steps) {
            if (step.kind == StepKind::await_counts) continue;
            eps::routing::CountsView view;
            if (step.segment.kind == SegmentKind::experts) {
                if (rank.next_counts == rank.counts.size())
                    rank.counts.push_back(counts_for(rank, step.segment));
                view = view_of(rank.tables, rank.counts[rank.next_counts++]);
            }
            const std::int64_t numbers = rank.builder.mark_numbers(),
                               transfers = rank.builder.mark_transfers();
            rank.lowering.lower(step.segment, view);
            rank.most_appended = std::max({rank.most_appended, rank.builder.mark_numbers() - numbers,
                                           rank.builder.mark_transfers() - transfers});
        }
    }

    std::vector<std::int32_t> counts_for(const Rank& rank, const eps::plan::Segment& segment) const {
        const auto gate = std::ranges::find_if(gates_, [&](const eps::plan::GateChoices& g) {
            return g.layer == segment.layer && g.micro_batch == segment.micro_batch;
        });
        return counts_of(rank.tables, *gate);
    }

    eps::model::ModelSpec spec_;
    eps::placement::TokenLayout layout_;
    eps::schedule::PassSetup setup_;
    std::vector<eps::plan::GateChoices> gates_;
    std::vector<std::unique_ptr<Rank>> ranks_;
};

}  // namespace schedule_tests
