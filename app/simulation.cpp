#include "app/simulation.hpp"

#include "app/lowered_world.hpp"
#include "app/results.hpp"
#include "backend/sim/simulate.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace eps {

namespace {

/// One simulated pass.
struct Simulated {
    double seconds = 0;
    report::Result result;  // checks, ranks and phases
    CaseTrace trace;
};

report::Check check_plans(const LoweredWorld& world) {
    const plan::PassUnderCheck pass = world.pass();
    // Following every row through the pass costs more than simulating it.
    constexpr std::int64_t kMostFollowed = 2'000'000;
    const std::int64_t followed =
        pass.num_tokens * std::max<std::int64_t>(1, pass.num_moe_layers) * pass.spec->num_experts_per_tok;
    const bool all = followed <= kMostFollowed && std::ssize(pass.ranks) <= 64;
    report::Check check{.kind = "plan",
                        .max_error = 0,
                        .bound = 0,
                        .origin = all ? "rules R1 to R8 over the plans of all ranks"
                                      : "rules R1, R7 and R8 over the plans of all ranks",
                        .reason = ""};
    try {
        if (all) {
            check.compared = plan::check_all(pass);
        } else {
            check.compared = plan::check_shape(pass);
            plan::check_support(pass);
            plan::check_flops(pass);
        }
        check.passed = true;
    } catch (const Error& error) {
        check.reason = error.what();
    }
    return check;
}

Simulated simulate_layers(const schedule::PassSetup& setup, const backend::Prompts& prompts,
                          const ModelledMachine& machine) {
    const LoweredWorld world(setup, prompts);
    const backend::sim::Cluster cluster{.times = machine.times, .link = setup.link};
    Simulated simulated;
    simulated.trace.lanes = world.runner(0).plan().lanes;
    simulated.trace.spans = simulate(world.pass(), setup.schedule.oracle, cluster);
    simulated.seconds = backend::sim::seconds_of(simulated.trace.spans);
    simulated.result.checks = {check_plans(world)};
    report_ranks(world.figures(), setup, simulated.result);
    add_phases(world.runner(0).plan(), simulated.trace.spans, setup.placement.world(), simulated.result);
    return simulated;
}

// `more` is of one layer more than `less`: what each of `num_layers` layers beyond it adds.
class Extrapolation {
  public:
    Extrapolation(const Simulated& less, std::int64_t num_layers)
        : less_(less), times_(static_cast<double>(num_layers)) {}

    void apply(Simulated& more) const {
        extend(more.seconds, less_.seconds);
        report::Result& result = more.result;
        const report::Result& before = less_.result;
        extend(result.communication.busy_seconds, before.communication.busy_seconds);
        extend(result.communication.exposed_seconds, before.communication.exposed_seconds);
        for (std::size_t i = 0; i < result.phases.size() && i < before.phases.size(); ++i) {
            extend(result.phases[i].busy_seconds, before.phases[i].busy_seconds);
            extend(result.phases[i].count, before.phases[i].count);
            if (result.phases[i].exposed_seconds)
                extend(*result.phases[i].exposed_seconds, before.phases[i].exposed_seconds.value_or(0));
        }
        for (std::size_t i = 0; i < result.per_rank.size(); ++i) {
            report::RankResult& rank = result.per_rank[i];
            const report::RankResult& earlier = before.per_rank[i];
            extend(rank.routed_rows, earlier.routed_rows);
            extend(rank.weight_bytes, earlier.weight_bytes);
            extend(rank.peak_bytes, earlier.peak_bytes);
            extend(rank.exposed_seconds, earlier.exposed_seconds);
            for (std::size_t lane = 0; lane < rank.lanes.size(); ++lane)
                extend(rank.lanes[lane].busy_seconds, earlier.lanes[lane].busy_seconds);
            result.load.rows_per_rank[i] = rank.routed_rows;
        }
        set_rank_load(result.load);
    }

  private:
    template <typename T>
    void extend(T& value, T before) const {
        value += static_cast<T>(times_ * static_cast<double>(value - before));
    }

    const Simulated& less_;
    double times_;
};

}  // namespace

CaseTrace simulate_case(const config::RunConfig& config, const backend::Prompts& prompts,
                        const ModelledMachine& machine, LiveCase& live) {
    schedule::PassSetup setup = pass_setup(config, live, prompts.forced != nullptr);
    const std::int64_t num_layers = config.model.num_layers;
    const std::int64_t first = config.model.first_moe_layer();
    const std::int64_t most = first + kSimulatedMoeLayers;
    const bool alike = setup.scope != schedule::Scope::moe && setup.placement.pp == 1 && first >= 0 &&
                       num_layers > most && num_layers * setup.placement.world() > kMostRankLayers;
    model::ModelSpec shorter = config.model, shortest = config.model;
    shorter.num_layers = alike ? most : num_layers;
    setup.spec = &shorter;
    Simulated simulated = simulate_layers(setup, prompts, machine);
    report::Result& result = live.result;
    result.flags.emplace_back(report::kModelled);
    result.notes.push_back(
        fmt::format("modelled with calibration {}: {}", machine.name, machine.times->calibration().about));
    if (alike) {
        shortest.num_layers = most - 1;
        setup.spec = &shortest;
        Extrapolation(simulate_layers(setup, prompts, machine), num_layers - most).apply(simulated);
        result.notes.push_back(
            fmt::format("{} layers were simulated; each of the other {} takes what the last of "
                        "them added, under other routing of the same kind",
                        most, num_layers - most));
    }
    add_measurement(
        {.warmup = 0, .min_repetitions = 1, .max_repetitions = 1, .max_seconds = 0, .relative_ci = 0},
        {simulated.seconds}, result);
    std::erase(result.flags, report::kNoisy);  // one sample, and no noise
    result.checks = simulated.result.checks;
    if (!result.checks.front().passed)
        result.invalid_reasons.push_back("check plan: " + result.checks.front().reason);
    result.phases = std::move(simulated.result.phases);
    result.communication = simulated.result.communication;
    result.per_rank = std::move(simulated.result.per_rank);
    result.load = std::move(simulated.result.load);
    simulated.trace.case_name = live.config.name;
    simulated.trace.link = result.link;
    return std::move(simulated.trace);
}

}  // namespace eps
