#include "app/group_run.hpp"

#include "app/output_hash.hpp"
#include "app/results.hpp"
#include "comm/collectives.hpp"
#include "measure/rounds.hpp"

#include <cmath>
#include <cstring>

#include <fmt/format.h>

namespace eps {

namespace {

constexpr std::int64_t kTracedPasses = 3;  // the middle one by duration is kept

class GroupRun {
  public:
    GroupRun(const config::RunConfig& config, const Launch& launch, const CaseGroup& group,
             report::Progress& progress)
        : config_(config), launch_(launch), group_(group), progress_(progress) {}

    void load_weights(const checkpoint::WeightSource& source) {
        show(*group_.front(), "weights");
        launch_.board->set_phase("weights", comm::Patience::unlimited);
        agree(*launch_.world, [&] { loaded_ = launch_.backend->load(runners_of(group_), source); });
        weights_finite_ =
            comm::max_over_ranks(*launch_.world, static_cast<std::int64_t>(!loaded_->weights_finite())) == 0;
        executor_ = &loaded_->start();
    }

    void validate(const backend::Prompts& prompts, Validation& validation) {
        const backend::Inputs* before = nullptr;
        for (LiveCase* live : group_) {
            launch_.board->set_case(live->config.name);
            launch_.board->set_phase("validation", comm::Patience::unlimited);
            show(*live, "validation");
            bind(*live);
            agree(*launch_.world, [&] {
                live->inputs = std::make_unique<backend::Inputs>(prompts, *live->runner, before);
                live->inputs->write(*executor_);
            });
            if (live->config.schedule.oracle) learn_counts(prompts, *live);
            if (!weights_finite_)
                live->result.invalid_reasons.emplace_back("the weights hold NaN or infinite values");
            validation.prove(*live, *executor_);
            before = live->inputs.get();
        }
    }

    void measure() {
        launch_.board->set_phase("measurement");
        const config::Measure& asked = config_.measure;
        const measure::StoppingRule rule{.warmup = asked.warmup,
                                         .min_repetitions = asked.min_repetitions,
                                         .max_repetitions = asked.max_repetitions,
                                         .max_seconds = asked.max_seconds,
                                         .relative_ci = asked.relative_ci};
        std::vector<std::vector<double>> seconds(group_.size());
        measure::measure_in_rounds(std::ssize(group_), rule, [&](std::int64_t case_idx, measure::Pass pass) {
            LiveCase& live = *group_[static_cast<std::size_t>(case_idx)];
            std::vector<double>& samples = seconds[static_cast<std::size_t>(case_idx)];
            const bool timed = pass == measure::Pass::timed;
            launch_.board->set_case(live.config.name);
            show(live, timed ? "measuring" : "warm-up", std::ssize(samples), asked.max_repetitions);
            if (!timed) launch_.backend->meter().look();  // beside a pass that does not count
            const double elapsed = timed_pass(live, false);
            if (timed) samples.push_back(elapsed);
            if (timed && rule.enough(samples)) check_hash(live);
            return elapsed;
        });
        for (std::size_t i = 0; i < group_.size(); ++i) {
            add_measurement(rule, seconds[i], group_[i]->result);
        }
        backend::Meter& meter = launch_.backend->meter();
        if (comm::max_over_ranks(*launch_.world, static_cast<std::int64_t>(meter.measures())) == 0) return;
        const backend::MeterReading of_group = meter.take();
        for (std::size_t i = 0; i < group_.size(); ++i) {
            if (seconds[i].empty()) continue;
            backend::MeterReading mine = measure_energy(*group_[i], rule, seconds[i].back());
            mine.slowdowns |= of_group.slowdowns;  // cases took turns: nobody knows whose they were
            mine.device = of_group.device;
            add_energy(*launch_.world, mine, launch_.host, group_[i]->result);
        }
    }

    void trace(std::vector<CaseTrace>& traces) {
        launch_.board->set_phase("tracing");
        for (LiveCase* live : group_) {
            launch_.board->set_case(live->config.name);
            show(*live, "tracing");
            std::vector<std::pair<double, std::vector<trace::Span>>> passes;
            for (std::int64_t i = 0; i < kTracedPasses; ++i) {
                const double seconds = timed_pass(*live, true);
                passes.emplace_back(seconds, executor_->take_spans());
                // Times count from the start of the pass, the same moment on all ranks but for the barrier.
                for (trace::Span& span : passes.back().second) {
                    span.begin_ns -= pass_begin_ns_;
                    span.end_ns -= pass_begin_ns_;
                }
            }
            std::ranges::sort(passes, {}, &std::pair<double, std::vector<trace::Span>>::first);
            const std::vector<trace::Span>& mine = passes[passes.size() / 2].second;
            const auto gathered = comm::gather_bytes(*launch_.world, 0, std::as_bytes(std::span(mine)));
            CaseTrace trace{.case_name = live->config.name,
                            .link = live->result.link,
                            .lanes = live->runner->plan().lanes,
                            .spans = {}};
            for (const comm::Bytes& bytes : gathered) {
                const std::size_t at = trace.spans.size();
                trace.spans.resize(at + bytes.size() / sizeof(trace::Span));
                std::memcpy(trace.spans.data() + at, bytes.data(), bytes.size());
            }
            add_ranks(*launch_.world, *live, loaded_->weight_bytes(), executor_->peak_bytes(), live->result);
            add_choices(*launch_.world, *live, trace.spans, live->result);
            if (!launch_.speaks()) continue;
            add_phases(live->runner->plan(), trace.spans, launch_.world->size(), live->result);
            traces.push_back(std::move(trace));
        }
    }

  private:
    // Passes one after the other for so long that the counters of the devices tell; none where the caps of
    // timed passes are shorter.
    backend::MeterReading measure_energy(LiveCase& live, const measure::StoppingRule& rule, double pass_s) {
        // Counted are at least 0.5 s: at each end of these a move of the counter may be missed.
        constexpr double kLeast_s = 0.8, kMost_s = 2, kLeastPasses = 3;
        const double allowed_s =
            std::min(rule.max_seconds, static_cast<double>(rule.max_repetitions) * pass_s);
        if (allowed_s < kLeast_s) return {};
        show(live, "energy");
        const auto num_passes = static_cast<std::int64_t>(
            std::max(kLeastPasses, std::ceil(std::min(allowed_s, kMost_s) / pass_s)));
        backend::Meter& meter = launch_.backend->meter();
        meter.take();
        for (std::int64_t pass = 0; pass < num_passes; ++pass) {
            timed_pass(live, false);
            meter.look();
        }
        return meter.take();
    }

    void bind(LiveCase& live) { executor_->bind(live.runner->plan(), live.runner->tables()); }

    void show(const LiveCase& live, const std::string& phase, std::int64_t num_passes = 0,
              std::int64_t max_passes = 0) {
        const auto place =
            std::ranges::find(config_.cases, live.config.name, &config::Case::name) - config_.cases.begin();
        progress_.show({.case_idx = place,
                        .num_cases = std::ssize(config_.cases),
                        .case_name = live.config.name,
                        .phase = phase,
                        .num_passes = num_passes,
                        .max_passes = max_passes,
                        .eta_seconds = {}});
    }

    // From leaving the barrier to the last op, on the slowest rank.
    double timed_pass(LiveCase& live, bool traced) {
        bind(live);
        live.inputs->write_rows(*executor_);
        launch_.world->barrier();
        pass_begin_ns_ = comm::steady_now_ns();
        live.runner->run(*executor_, traced);
        const double seconds = static_cast<double>(comm::steady_now_ns() - pass_begin_ns_) * 1e-9;
        return comm::max_over_ranks(*launch_.world, seconds);
    }

    // Known counts come from a pass that does not know them.
    void learn_counts(const backend::Prompts& prompts, LiveCase& live) {
        schedule::PassSetup asking = live.runner->tables().setup;
        asking.schedule.oracle = false;
        backend::PassRunner runner(asking, launch_.world->rank());
        executor_->bind(runner.plan(), runner.tables());
        backend::Inputs inputs(prompts, runner);
        inputs.write(*executor_);
        inputs.write_rows(*executor_);
        launch_.world->barrier();
        runner.run(*executor_, false);
        executor_->unbind(runner.plan());
        bind(live);
        live.runner->know_counts(*executor_, runner.counts());
    }

    // After a case's last timed repetition: it computed what was validated.
    void check_hash(LiveCase& live) {
        const bool changed = hash_outputs(live, *executor_).hash != live.output_hash;
        if (comm::max_over_ranks(*launch_.world, static_cast<std::int64_t>(changed)) != 0)
            live.result.invalid_reasons.emplace_back(
                "the last repetition's outputs differ from those that were validated");
    }

    const config::RunConfig& config_;
    const Launch& launch_;
    const CaseGroup& group_;
    report::Progress& progress_;
    std::unique_ptr<backend::Group> loaded_;
    backend::Executor* executor_ = nullptr;
    bool weights_finite_ = true;
    std::int64_t pass_begin_ns_ = 0;
};

}  // namespace

void run_group(const config::RunConfig& config, const backend::Prompts& prompts,
               const checkpoint::WeightSource& source, const Launch& launch, const CaseGroup& group,
               Validation& validation, report::Progress& progress, std::vector<CaseTrace>& traces) {
    GroupRun run(config, launch, group, progress);
    run.load_weights(source);
    run.validate(prompts, validation);
    run.measure();
    run.trace(traces);
    for (LiveCase* live : group) live->inputs.reset();
}

}  // namespace eps
