#include "app/program.hpp"

#include "app/calibrate.hpp"
#include "app/compare.hpp"
#include "app/group_run.hpp"
#include "app/list.hpp"
#include "app/machine.hpp"
#include "app/options.hpp"
#include "app/prediction.hpp"
#include "app/results.hpp"
#include "app/simulation.hpp"
#include "base/exit_status.hpp"
#include "base/json.hpp"
#include "base/output_path.hpp"
#include "checkpoint/checkpoint.hpp"
#include "checkpoint/synthetic.hpp"
#include "comm/collectives.hpp"
#include "comm/host_processes.hpp"
#include "comm/mpi.hpp"
#include "comm/watchdog.hpp"
#include "comm/wire.hpp"
#include "report/environment.hpp"
#include "report/report_file.hpp"
#include "report/table.hpp"
#include "trace/timeline.hpp"

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <set>

#include <fmt/format.h>
#include <unistd.h>

namespace eps {

namespace {

// Before MPI is up only the environment of the launcher tells ranks apart.
bool first_rank_before_mpi() {
    for (const char* name : {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK"})
        if (const char* rank = std::getenv(name)) return std::atoi(rank) == 0;
    return true;
}

// Waiting OpenMP teams must not spin: they take the cores of other ranks, other lanes and other programs. The
// OpenMP library reads its settings when it is loaded, so the program starts over once with them set.
void restart_with_quiet_threads(char** argv) {
    if (std::getenv("OMP_WAIT_POLICY") != nullptr) return;
    setenv("OMP_WAIT_POLICY", "passive", 1);
    execv("/proc/self/exe", argv);
}

class Program {
  public:
    Program(Launch launch, comm::MpiWorld& mpi, std::vector<std::string> argv)
        : launch_(std::move(launch)), mpi_(mpi), argv_(std::move(argv)), cpus_(report::allowed_cpus()) {
        share_cores(launch_, cpus_);
        launch_.one_clock = comm::share_clock(*launch_.world);
    }

    Exit run() {
        const std::string utc = comm::broadcast_string(*launch_.world, 0, report::utc_now());
        read_config(utc);
        launch_.board->set_phase("preparation", comm::Patience::unlimited);
        if (config_.backend == config::Backend::sim) return simulate(utc);
        agree(*launch_.world, [&] { backend_ = make_backend(config_.backend, launch_, mpi_); });
        launch_.backend = backend_.get();
        agree(*launch_.world, [&] { prompts_ = make_prompts(config_); });
        agree(*launch_.world, [&] { open_weights(); });
        agree(*launch_.world, [&] { cases_ = make_cases(config_, *prompts_, launch_.world->rank()); });
        const std::vector<CaseGroup> groups = make_groups(cases_);
        check_resources(config_, *prompts_, groups, launch_);
        if (launch_.options.dry_run || launch_.options.plan) return only_tell(groups);
        if (launch_.options.calibrate) return only_calibrate();

        check_outputs();
        calibrate();
        report_ = start_report(config_, launch_, mpi_, argv_, utc, cpus_);
        if (times_) report_.environment.calibration = times_->used();
        open_outputs();
        std::unique_ptr<Validation> validation;
        const std::int64_t fewest_cpus = -comm::max_over_ranks(*launch_.world, -std::ssize(cpus_));
        agree(*launch_.world, [&] {
            validation = std::make_unique<Validation>(config_, *prompts_, *source_, launch_,
                                                      static_cast<int>(fewest_cpus));
        });
        for (const CaseGroup& group : groups) {
            for (LiveCase* live : group) live->result = describe_case(config_, live->config, launch_);
            run_group(config_, *prompts_, *source_, launch_, group, *validation, *progress_, traces_);
            finish_group(group);
        }
        return finish();
    }

    // The watchdog's last act on rank 0; any thread.
    void keep_what_is_finished() {
        if (const std::shared_ptr<report::ReportFile> file = std::atomic_load(&file_))
            file->write_interrupted(report::utc_now());
    }

  private:
    void read_config(const std::string& utc) {
        std::string text;
        on_first_rank(*launch_.world,
                      [&] { text = read_text_file(launch_.options.config_path, Exit::usage); });
        text = comm::broadcast_string(*launch_.world, 0, text);
        agree(*launch_.world, [&] {
            config_ = config::make_run_config(text, launch_.options.config_path, launch_.options.sets,
                                              launch_.world->size(), utc);
        });
    }

    Exit only_calibrate() {
        launch_.board->set_phase("calibration");
        const std::int64_t begin_ns = comm::steady_now_ns();
        const Times times = find_times(config_, cases_, launch_, mpi_, true);
        if (launch_.speaks())
            std::printf("%s\n",
                        times.told(static_cast<double>(comm::steady_now_ns() - begin_ns) * 1e-9).c_str());
        return Exit::ok;
    }

    void calibrate() {
        if (!config_.calibration && !chooses(config_)) return;
        launch_.board->set_phase("calibration");
        times_ = find_times(config_, cases_, launch_, mpi_, false);
        launch_.board->set_phase("preparation", comm::Patience::unlimited);
        agree(*launch_.world, [&] { choose_by(times_->by_dtype, config_, *prompts_, cases_); });
    }

    void open_weights() {
        source_ = config_.checkpoint_dir
                      ? checkpoint::open_checkpoint(*config_.checkpoint_dir, config_.model)
                      : checkpoint::synthetic_weights(config_.model, config_.workload.seed);
    }

    // On rank 0 alone; the others wait for its verdict.
    Exit simulate(const std::string& utc) {
        if (launch_.options.dry_run || launch_.options.plan)
            throw AgreedError(Exit::usage,
                              "--dry-run and --plan tell what ranks that were started would do; the backend "
                              "\"sim\" only models them: leave it or the flag out");
        if (launch_.options.calibrate)
            throw AgreedError(Exit::usage,
                              "the backend \"sim\" cannot be measured: calibrate with another one");
        report_ = start_report(config_, launch_, mpi_, argv_, utc, cpus_);
        on_first_rank(*launch_.world, [&] {
            Launch here = launch_;  // this machine's own times are those of its CPUs
            if (!config_.calibration && launch_.backends->contains("cpu"))
                backend_ = make_backend(config::Backend::cpu, launch_, mpi_);
            here.backend = backend_.get();
            const std::string path = modelled_calibration_path(config_, here, mpi_);
            calibration_ = cost::read_calibration(read_text_file(path, Exit::usage), path);
            report_.environment.calibration = report::CalibrationUsed{.path = path,
                                                                      .hash = cost::hash_of(calibration_),
                                                                      .about = calibration_.about,
                                                                      .num_measured = 0};
        });
        check_outputs();
        open_outputs();
        on_first_rank(*launch_.world, [&] {
            prompts_ = make_prompts(config_);
            cases_ = make_cases(config_, *prompts_, 0);
            Launch modelled = launch_;  // whose threads and cores are not those of this machine
            modelled.threads = 1;
            modelled.cores_shared = false;
            for (const auto& live : cases_) {
                live->result = describe_case(config_, live->config, modelled);
                const std::string& path = report_.environment.calibration->path;
                const cost::OpTimes times(calibration_, live->config.dtype, path);
                live->times = &times;
                traces_.push_back(
                    simulate_case(config_, *prompts_, {&times, config_.calibration.value_or(path)}, *live));
                live->times = nullptr;
                conclude(live->result);
                report_.results.push_back(live->result);
                if (report_.results.size() == cases_.size()) report_.run.utc_end = report::utc_now();
                file_->write(report_);
            }
        });
        return finish();
    }

    Exit only_tell(const std::vector<CaseGroup>& groups) {
        const std::string told =
            launch_.options.dry_run ? dry_run_text(config_, groups, launch_) : plan_text(groups, launch_);
        if (launch_.speaks()) std::fputs(told.c_str(), stdout);
        return Exit::ok;
    }

    // Before anything takes time.
    void check_outputs() {
        on_first_rank(*launch_.world, [&] {
            const bool overwrite = launch_.options.overwrite;
            if (config_.dump_path) check_output_path(*config_.dump_path, "dump", overwrite);
            if (launch_.options.timeline_path)
                check_output_path(*launch_.options.timeline_path, "timeline", overwrite);
            check_output_path(config_.report_path, "report", overwrite);
            refuse_equal_paths();
        });
    }

    void open_outputs() {
        progress_ = std::make_unique<report::Progress>(launch_.speaks() && report::stderr_is_terminal());
        on_first_rank(*launch_.world, [&] {
            const auto file =
                std::make_shared<report::ReportFile>(config_.report_path, launch_.options.overwrite);
            file->hold(report_);
            std::atomic_store(&file_, file);
        });
    }

    // One of them would replace the other, or find it in its place after all the work.
    void refuse_equal_paths() const {
        std::map<std::filesystem::path, std::string> names;
        const auto add = [&](const std::string& path, const std::string& name) {
            const auto [other, is_new] =
                names.emplace(std::filesystem::weakly_canonical(std::filesystem::absolute(path)), name);
            if (!is_new)
                throw Error(Exit::usage, fmt::format("{} path '{}' is that of the {} too: give another path",
                                                     name, path, other->second));
        };
        add(config_.report_path, "report");
        if (config_.dump_path) add(*config_.dump_path, "dump");
        if (launch_.options.timeline_path) add(*launch_.options.timeline_path, "timeline");
    }

    void finish_group(const CaseGroup& group) {
        progress_->clear();
        on_first_rank(*launch_.world, [&] {
            for (LiveCase* live : group) conclude(live->result);
            // In the order of the config, whatever the order of groups.
            report_.results.clear();
            finished_.insert(group.begin(), group.end());
            for (const auto& live : cases_) {
                if (finished_.contains(live.get())) report_.results.push_back(live->result);
            }
            if (finished_.size() == cases_.size()) report_.run.utc_end = report::utc_now();
            file_->write(report_);
        });
    }

    Exit finish() {
        Exit status = Exit::ok;
        on_first_rank(*launch_.world, [&] {
            if (launch_.options.timeline_path) write_timelines();
            std::printf("%s\nreport: %s\n", report::to_table(report_).c_str(), config_.report_path.c_str());
            std::fflush(stdout);
            for (const report::Result& result : report_.results)
                if (!result.valid) status = Exit::invalid;
        });
        return static_cast<Exit>(comm::max_over_ranks(*launch_.world, static_cast<std::int64_t>(status)));
    }

    void write_timelines() {
        std::vector<trace::Timeline> timelines;
        for (const CaseTrace& trace : traces_) {
            trace::Timeline& timeline = timelines.emplace_back();
            timeline.case_name = trace.case_name;
            timeline.notes = fmt::format("\"link\": {}", trace.link);
            const bool modelled = config_.backend == config::Backend::sim;
            if (modelled) timeline.notes += ", \"modelled\": true";
            for (std::int64_t rank = 0; rank < config_.num_ranks; ++rank) {
                trace::RankTrace& of_rank = timeline.ranks.emplace_back();
                of_rank.host = modelled ? "modelled" : mpi_.hosts()[static_cast<std::size_t>(rank)];
                of_rank.lanes = trace.lanes;
                for (const trace::Span& span : trace.spans)
                    if (span.rank == rank) of_rank.spans.push_back(span);
            }
        }
        trace::write_timeline(*launch_.options.timeline_path, launch_.options.overwrite, timelines);
    }

    Launch launch_;
    comm::MpiWorld& mpi_;
    std::vector<std::string> argv_;
    std::vector<std::int64_t> cpus_;
    config::RunConfig config_;
    cost::Calibration calibration_;  // backend sim
    std::unique_ptr<backend::Backend> backend_;
    std::unique_ptr<backend::Prompts> prompts_;
    std::unique_ptr<checkpoint::WeightSource> source_;
    std::optional<Times> times_;
    std::vector<std::unique_ptr<LiveCase>> cases_;
    std::set<const LiveCase*> finished_;
    std::vector<CaseTrace> traces_;
    report::Report report_;
    std::shared_ptr<report::ReportFile> file_;
    std::unique_ptr<report::Progress> progress_;
};

// With MPI up: runs, or says why not.
Exit run_in_world(Launch launch, comm::MpiWorld& mpi, std::vector<std::string> argv) {
    comm::Communicator& world = mpi.communicator();
    comm::ProgressBoard& board = *launch.board;
    const double op_timeout_s = launch.options.op_timeout_s;
    Program program(std::move(launch), mpi, std::move(argv));
    const comm::HostProcesses processes(world);
    const comm::Watchdog watchdog(board,
                                  {.rank = world.rank(),
                                   .host = mpi.hosts()[static_cast<std::size_t>(world.rank())],
                                   .op_timeout_s = op_timeout_s,
                                   .before_end = [&](std::string_view) { program.keep_what_is_finished(); },
                                   .ended_rank = [&] { return processes.ended(); },
                                   .abort_run = [&](int status) { world.abort(status); }});
    try {
        return program.run();
    } catch (const AgreedError& error) {
        if (world.rank() == 0) std::fprintf(stderr, "eps-bench: %s\n", error.what());
        return error.status();
    }
}

// What one process answers by itself, also where mpirun started several.
std::optional<Exit> without_mpi(const Options& options, const backend::Backends& backends) {
    if (options.answer.empty() && !options.compare && !options.list_devices) return std::nullopt;
    if (!first_rank_before_mpi()) return Exit::ok;
    if (options.compare) return run_compare(*options.compare);
    std::fputs(options.list_devices ? device_text(backends).c_str() : options.answer.c_str(), stdout);
    return Exit::ok;
}

}  // namespace

int run_program(int argc, char** argv, const backend::Backends& backends) {
    Options options;
    try {
        options = parse_options(argc, argv);
        if (const std::optional<Exit> status = without_mpi(options, backends))
            return static_cast<int>(*status);
    } catch (const std::exception& error) {
        if (first_rank_before_mpi()) std::fprintf(stderr, "eps-bench: %s\n", error.what());
        return static_cast<int>(status_of(error));
    }
    restart_with_quiet_threads(argv);
    comm::block_stop_signals();
    comm::ProgressBoard board;
    comm::MpiWorld mpi;
    Launch launch{.world = &mpi.communicator(),
                  .board = &board,
                  .backends = &backends,
                  .options = options,
                  .host = mpi.hosts()[static_cast<std::size_t>(mpi.communicator().rank())]};
    try {
        return static_cast<int>(run_in_world(std::move(launch), mpi, {argv, argv + argc}));
    } catch (const std::exception& error) {
        end_run(mpi.communicator(), error);
    }
}

}  // namespace eps
