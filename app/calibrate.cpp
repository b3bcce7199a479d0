#include "app/calibrate.hpp"

#include "base/json.hpp"
#include "base/output_path.hpp"
#include "base/shipped.hpp"
#include "comm/collectives.hpp"
#include "model/cost.hpp"
#include "report/environment.hpp"
#include "report/sha256.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <set>
#include <string_view>

#include <fmt/format.h>

namespace eps {

namespace {

constexpr const char* kShipped = "configs/calibrations";

// One line on stderr, beside errors and progress.
void note(const Launch& launch, const std::string& text) {
    if (launch.speaks()) std::fprintf(stderr, "calibration: %s\n", text.c_str());
}

std::string calibrations_to_name() {
    return fmt::format("one of {} (shipped), or a path", fmt::join(shipped_names(kShipped), ", "));
}

std::string named_calibration_path(const std::string& name, const std::string& where) {
    const bool is_path = name.find('/') != std::string::npos || name.ends_with(".json");
    const std::string path = is_path ? name : fmt::format("{}/{}.json", find_shipped(kShipped), name);
    if (!std::filesystem::exists(path))
        throw Error(Exit::usage, fmt::format("{}: /calibration is \"{}\", which is not there; expected {}",
                                             where, name, calibrations_to_name()));
    return path;
}

// A rank's weights, of which a pass uses each once, are more than caches hold.
bool beyond_caches(const config::RunConfig& config, std::int64_t cache_bytes) {
    const std::vector<std::int64_t> one_token{1};
    std::int64_t bytes = 0;
    for (const config::Case& c : config.cases) {
        const model::ModelCost cost =
            config.scope == schedule::Scope::moe     ? model::cost_of_moe(config.model, 1, c.dtype)
            : config.scope == schedule::Scope::layer ? model::cost_of_layers(config.model, one_token, c.dtype)
                                                     : model::cost_of_model(config.model, one_token, c.dtype);
        bytes = std::max(bytes, cost.total().parameters * bytes_of(c.dtype));
    }
    return bytes / config.num_ranks > cache_bytes;
}

// This setting, as if so many ranks had been started here.
cost::Measured measured_here(const config::RunConfig& config, const Launch& launch,
                             const comm::MpiWorld& mpi) {
    const report::Host host = report::this_host();
    const bool modelled = config.backend == config::Backend::sim;
    const std::int64_t cores = launch.cores_share * launch.world->size();
    const std::set<std::string> hosts(mpi.hosts().begin(), mpi.hosts().end());
    const backend::MeasuredOn on = launch.backend->measured_on();
    return {.machine = fmt::format("{}{}, {} CPUs{}", on.device.empty() ? "" : on.device + " beside ",
                                   host.cpu_model, host.num_cpus,
                                   hosts.size() > 1 ? fmt::format(", {} hosts", hosts.size()) : ""),
            .libraries = on.libraries + "; " + mpi.library_version(),
            .ranks = config.num_ranks,
            .threads = modelled ? std::max<std::int64_t>(1, cores / config.num_ranks) : on.threads,
            .cores_shared = modelled ? config.num_ranks > cores : launch.cores_shared,
            .beyond_caches = beyond_caches(config, on.cache_bytes)};
}

std::string cache_path(const cost::Measured& here, const Launch& launch) {
    const std::string folder = calibration_folder();
    if (folder.empty()) return "";
    const std::string key =
        fmt::format("{}\n{}\n{}\n{}", here.machine, here.libraries, here.cores_shared, here.beyond_caches);
    return fmt::format("{}/{}-{}x{}-{}.json", folder, launch.backend->measured_on().backend, here.ranks,
                       here.threads, report::sha256_hex(key).substr(0, 16));
}

// A named calibration must be of this very setting, whose times the choices are for.
void require_fit(const cost::Calibration& named, const cost::Measured& here,
                 const std::vector<cost::Wanted>& missing, const std::string& path) {
    const auto refuse = [&](const std::string& what) {
        throw Error(Exit::usage,
                    fmt::format("{}: does not fit this run: {}; leave out \"calibration\" to have "
                                "this machine measured",
                                path, what));
    };
    const cost::Measured& there = named.measured;
    if (there.machine != here.machine)
        refuse(fmt::format("measured on {}, this is {}", there.machine, here.machine));
    if (there.libraries != here.libraries)
        refuse(fmt::format("measured with {}, this is {}", there.libraries, here.libraries));
    if (there.ranks != here.ranks)
        refuse(fmt::format("measured on {} ranks, these are {}", there.ranks, here.ranks));
    if (there.threads != here.threads)
        refuse(fmt::format("measured with {} threads a rank, these are {}", there.threads, here.threads));
    if (there.cores_shared != here.cores_shared)
        refuse(there.cores_shared ? "measured by ranks that share cores, these have their own"
                                  : "measured by ranks with cores of their own, these share theirs");
    if (there.beyond_caches != here.beyond_caches)
        refuse(fmt::format("measured with weights from {}, those of this model come from {}",
                           there.beyond_caches ? "memory" : "caches",
                           here.beyond_caches ? "memory" : "caches"));
    for (const cost::Wanted& w : missing)
        if (w.what == cost::Asked::experts)
            refuse(fmt::format("it has no expert GEMMs of {} columns from {} in {}", w.n, w.k,
                               name_of(w.dtype)));
}

// What the plans of all ranks ask for, the same on every rank.
std::vector<cost::Wanted> wanted_by(const std::vector<std::unique_ptr<LiveCase>>& cases, const Launch& launch,
                                    bool everything) {
    std::vector<cost::Wanted> mine;
    for (const auto& live : cases) cost::want(live->runner->plan(), live->config.dtype, everything, mine);
    const std::string_view bytes(reinterpret_cast<const char*>(mine.data()),
                                 mine.size() * sizeof(cost::Wanted));
    std::vector<cost::Wanted> wanted;
    for (const std::string& of_rank : comm::all_gather_strings(*launch.world, bytes)) {
        std::vector<cost::Wanted> theirs(of_rank.size() / sizeof(cost::Wanted));
        std::memcpy(theirs.data(), of_rank.data(), of_rank.size());
        for (const cost::Wanted& w : theirs) cost::want(w, wanted);
    }
    return wanted;
}

// The text of this machine's calibration; empty if there is none yet, or none that can be used.
std::string cached_text(const std::string& path, const cost::Measured& here, const Launch& launch) {
    std::string text;
    if (launch.speaks() && std::filesystem::exists(path)) {
        try {
            text = read_text_file(path, Exit::usage);
            if (cost::read_calibration(text, path).measured != here)
                throw Error(Exit::usage, path + ": is of another machine");
        } catch (const Error& error) {
            note(launch, fmt::format("{}: measuring anew", error.what()));
            text.clear();
        }
    }
    return comm::broadcast_string(*launch.world, 0, text);
}

void keep(const cost::Calibration& calibration, std::string& path, const Launch& launch) {
    if (launch.speaks() && !path.empty()) {
        try {
            write_output_file(path, "calibration", true, cost::to_json(calibration));
        } catch (const Error& error) {
            note(launch, fmt::format("not kept for the next run: {}", error.what()));
            path.clear();
        }
    }
    path = comm::broadcast_string(*launch.world, 0, path);
}

}  // namespace

std::string calibration_folder() {
    const auto variable = [](const char* name) -> std::string {
        const char* value = std::getenv(name);
        return value == nullptr ? "" : value;
    };
    // The standard wants absolute paths and has others ignored.
    if (const std::string cache = variable("XDG_CACHE_HOME"); cache.starts_with('/'))
        return cache + "/eps-bench";
    if (const std::string home = variable("HOME"); home.starts_with('/')) return home + "/.cache/eps-bench";
    return "";
}

report::CalibrationUsed Times::used() const {
    const cost::Calibration& any = by_dtype.begin()->second.calibration();
    return {.path = path, .hash = cost::hash_of(any), .about = any.about, .num_measured = num_measured};
}

std::string modelled_calibration_path(const config::RunConfig& config, const Launch& launch,
                                      const comm::MpiWorld& mpi) {
    if (config.calibration) return named_calibration_path(*config.calibration, launch.options.config_path);
    if (launch.backend == nullptr)
        throw Error(Exit::usage, fmt::format("{}: /calibration is null, which needs the backend \"cpu\", and "
                                             "that is not in this build; expected {}",
                                             launch.options.config_path, calibrations_to_name()));
    const cost::Measured here = measured_here(config, launch, mpi);
    const std::string path = cache_path(here, launch);
    if (path.empty() || !std::filesystem::exists(path))
        throw Error(
            Exit::usage,
            fmt::format("{}: /calibration is null, and this machine was not measured with {} ranks: run "
                        "`mpirun -n {} eps-bench calibrate` with this config and the backend \"cpu\", or "
                        "name {}",
                        launch.options.config_path, here.ranks, here.ranks, calibrations_to_name()));
    return path;
}

std::string Times::told(double elapsed_s) const {
    const cost::Calibration& any = by_dtype.begin()->second.calibration();
    const std::string threads =
        any.measured.threads > 1 ? fmt::format(" x {} threads", any.measured.threads) : "";
    std::string text = fmt::format("calibration {} of {} ranks{} on {}\n", cost::hash_of(any),
                                   any.measured.ranks, threads, any.measured.machine);
    for (const cost::DTypeTimes& times : any.dtypes)
        text += fmt::format("  {}: {} GEMM shapes, {} gates, {} attentions, {} ops\n", name_of(times.dtype),
                            times.gemms.size(), times.gates.size(), times.attentions.size(),
                            times.compute_ops.size() + times.exchange_ops.size());
    text += fmt::format(
        "  overhead of a chunk {:.1f} us, of an op {:.1f} us, of waiting for another lane {:.1f} us\n",
        any.chunk_overhead_s * 1e6, any.op_overhead_s * 1e6, any.lane_hop_s * 1e6);
    return text + fmt::format("{} tables measured in {:.1f} s: {}", num_measured, elapsed_s,
                              path.empty() ? "kept nowhere" : path);
}

bool chooses(const config::RunConfig& config) {
    const bool has_experts = config.model.first_moe_layer() >= 0;
    return has_experts && std::ranges::any_of(config.cases, [](const config::Case& c) {
               return !c.schedule.chunks || c.schedule.gemm == schedule::GemmChoice::automatic;
           });
}

Times find_times(const config::RunConfig& config, const std::vector<std::unique_ptr<LiveCase>>& cases,
                 const Launch& launch, const comm::MpiWorld& mpi, bool everything) {
    const cost::Measured here = measured_here(config, launch, mpi);
    const std::vector<cost::Wanted> wanted = wanted_by(cases, launch, everything);
    Times times{.by_dtype = {}, .path = {}, .num_measured = 0};
    cost::Calibration calibration;
    if (config.calibration) {
        std::string text;
        on_first_rank(*launch.world, [&] {
            times.path = named_calibration_path(*config.calibration, launch.options.config_path);
            text = read_text_file(times.path, Exit::usage);
        });
        times.path = comm::broadcast_string(*launch.world, 0, times.path);
        text = comm::broadcast_string(*launch.world, 0, text);
        agree(*launch.world, [&] {
            calibration = cost::read_calibration(text, times.path);
            require_fit(calibration, here, cost::missing(calibration, wanted), times.path);
        });
    } else {
        times.path = comm::broadcast_string(*launch.world, 0, cache_path(here, launch));
        const std::string text = cached_text(times.path, here, launch);
        const bool known = !text.empty();
        if (known) calibration = cost::read_calibration(text, times.path);
        const std::vector<cost::Wanted> missing = cost::missing(calibration, wanted);
        times.num_measured = std::ssize(missing);
        if (!missing.empty()) {
            note(launch, fmt::format("{} of {} tables are not in {}: measuring them once", missing.size(),
                                     wanted.size(), times.path.empty() ? "any cache" : times.path));
            calibration =
                launch.backend->measure(config.model, here, missing, known ? &calibration : nullptr);
            keep(calibration, times.path, launch);
        }
    }
    agree(*launch.world, [&] {
        for (const config::Case& c : config.cases)
            times.by_dtype.try_emplace(c.dtype, calibration, c.dtype, times.path);
    });
    return times;
}

}  // namespace eps
