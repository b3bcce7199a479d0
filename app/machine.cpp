#include "app/machine.hpp"

#include "comm/collectives.hpp"
#include "report/environment.hpp"
#include "report/sha256.hpp"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <utility>

#include <eps_version.hpp>
#include <fmt/format.h>

namespace eps {

namespace {

void add_libraries(const config::RunConfig& config, const Launch& launch, report::Environment& environment) {
    if (launch.backend == nullptr) {
        environment.blas = "none: modelled";
        return;
    }
    std::vector<DType> dtypes;
    for (const DType dtype : {DType::f32, DType::bf16})
        if (std::ranges::count(config.cases, dtype, &config::Case::dtype) > 0) dtypes.push_back(dtype);
    backend::Libraries libraries = launch.backend->libraries(dtypes);
    environment.blas = std::move(libraries.blas);
    environment.cuda = std::move(libraries.cuda);
    environment.nccl = std::move(libraries.nccl);
}

// What processes of this host may still take.
std::int64_t available_host_bytes() {
    std::int64_t available = report::this_host().memory_bytes;
    std::ifstream meminfo("/proc/meminfo");
    std::string key, unit;
    std::int64_t kib = 0;
    while (meminfo >> key >> kib) {
        std::getline(meminfo, unit);
        if (key == "MemAvailable:") available = std::min(available, kib * 1024);
    }
    return available;
}

}  // namespace

void share_cores(Launch& launch, const std::vector<std::int64_t>& cpus) {
    std::string mine = launch.host;
    for (const std::int64_t cpu : cpus) mine += " " + std::to_string(cpu);
    const auto all = comm::all_gather_strings(*launch.world, mine);
    const auto sharing = std::ranges::count(all, mine);  // ranks that are bound alike
    const auto cores = std::ssize(cpus);
    launch.cores_share = std::max<std::int64_t>(1, cores / sharing);
    launch.cores_shared = sharing > cores;
    const char* asked = std::getenv("OMP_NUM_THREADS");
    const int threads = asked != nullptr ? std::atoi(asked) : 0;
    launch.threads = threads > 0 ? threads : static_cast<int>(launch.cores_share);
}

std::unique_ptr<backend::Backend> make_backend(config::Backend asked, const Launch& launch,
                                               const comm::MpiWorld& mpi) {
    const std::string name = config::name_of(asked);
    const auto entry = launch.backends->find(name);
    if (entry == launch.backends->end()) {
        std::vector<std::string> built;
        for (const auto& [other, unused] : *launch.backends) built.push_back("\"" + other + "\"");
        throw Error(Exit::usage,
                    fmt::format("{}: /backend is \"{}\", which is not in this build; expected {} "
                                "or \"sim\"",
                                launch.options.config_path, name, fmt::join(built, ", ")));
    }
    const auto& hosts = mpi.hosts();
    return entry->second.make(
        {.world = launch.world,
         .board = launch.board,
         .on_failure = [world = launch.world](const std::exception& error) { end_run(*world, error); },
         .host = launch.host,
         .local_rank = std::count(hosts.begin(), hosts.begin() + launch.world->rank(), launch.host),
         .num_local_ranks = std::ranges::count(hosts, launch.host),
         .available_host_bytes = available_host_bytes(),
         .threads = launch.threads,
         .share_devices = launch.options.share_devices,
         .load_margin = launch.options.load_margin,
         .graphs = launch.options.graphs});
}

report::Report start_report(const config::RunConfig& config, const Launch& launch, const comm::MpiWorld& mpi,
                            const std::vector<std::string>& argv, const std::string& utc,
                            const std::vector<std::int64_t>& cpus) {
    report::Report report;
    report.tool = {.name = "eps-bench",
                   .version = std::string(kVersion),
                   .git_sha = std::string(kGitSha),
                   .git_dirty = kGitDirty,
                   .build = {std::string(kBuildType), std::string(kCompiler)}};
    report.run = {.id = report::new_run_id(),
                  .utc_start = utc,
                  .utc_end = "",
                  .argv = argv,
                  .config = config.resolved,
                  .config_sha256 = report::sha256_hex(config.resolved),
                  .interrupted = false};
    report::Host host = report::this_host();
    host.name = launch.host;
    const report::RankPlace place{.rank = launch.world->rank(),
                                  .host = launch.host,
                                  .cpus = cpus,
                                  .threads = launch.threads,
                                  .device = launch.backend ? launch.backend->device() : std::nullopt};
    report::add_ranks(report.environment,
                      comm::all_gather_strings(*launch.world, report::encode(host, place)));
    report.environment.mpi = mpi.library_version();
    add_libraries(config, launch, report.environment);
    report.environment.env = report::allowed_variables();
    return report;
}

}  // namespace eps
