#include "report/environment.hpp"

#include "base/error.hpp"

#include <algorithm>
#include <array>
#include <ctime>
#include <fstream>
#include <memory>
#include <random>
#include <string_view>

#include <fmt/core.h>
#include <nlohmann/json.hpp>
#include <sched.h>
#include <sys/utsname.h>
#include <unistd.h>

extern char** environ;

namespace eps::report {
namespace {

constexpr std::array<std::string_view, 8> kPrefixes = {"OMP_",    "OMPI_MCA_", "PRTE_MCA_", "EPS_",
                                                       "ONEDNN_", "DNNL_",     "NCCL_",     "CUDA_"};
constexpr std::array<std::string_view, 3> kNames = {"GOMP_CPU_AFFINITY", "GOMP_SPINCOUNT",
                                                    "MALLOC_ARENA_MAX"};

// What mpirun itself hands to its processes: addresses and folders of this one launch, nothing a user set.
constexpr std::array<std::string_view, 5> kLaunchPrefixes = {
    "OMPI_MCA_orte_", "OMPI_MCA_ess", "OMPI_MCA_pmix", "OMPI_MCA_initial_wdir", "OMPI_MCA_shmem_RUNTIME_"};

std::string cpu_model() {
    std::ifstream file("/proc/cpuinfo");
    for (std::string line; std::getline(file, line);) {
        const auto colon = line.find(": ");
        if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
    }
    utsname machine{};
    return uname(&machine) == 0 ? machine.machine : "unknown";  // not every architecture has the line
}

std::int64_t memory_bytes() {
    std::int64_t bytes = std::int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGESIZE);
    for (const char* path : {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
        std::int64_t limit = 0;  // "max" does not parse: no limit
        if (std::ifstream(path) >> limit) bytes = std::min(bytes, limit);
    }
    return bytes;
}

template <std::size_t kCount>
bool starts_with_any(std::string_view name, const std::array<std::string_view, kCount>& prefixes) {
    return std::any_of(prefixes.begin(), prefixes.end(),
                       [&](auto prefix) { return name.starts_with(prefix); });
}

bool is_allowed(std::string_view name) {
    return (starts_with_any(name, kPrefixes) && !starts_with_any(name, kLaunchPrefixes)) ||
           std::find(kNames.begin(), kNames.end(), name) != kNames.end();
}

}  // namespace

Host this_host() {
    std::array<char, 256> name{};
    gethostname(name.data(), name.size() - 1);
    return {name.data(), cpu_model(), sysconf(_SC_NPROCESSORS_ONLN), memory_bytes()};
}

std::vector<std::int64_t> allowed_cpus() {
    constexpr int kMostCpus = 8192;
    const std::unique_ptr<cpu_set_t, void (*)(cpu_set_t*)> set(CPU_ALLOC(kMostCpus),
                                                               [](cpu_set_t* p) { CPU_FREE(p); });
    const std::size_t bytes = CPU_ALLOC_SIZE(kMostCpus);
    if (set == nullptr || sched_getaffinity(0, bytes, set.get()) != 0)
        throw Error(Exit::internal, "sched_getaffinity gives no list of hardware threads");
    std::vector<std::int64_t> cpus;
    for (int cpu = 0; cpu < kMostCpus; ++cpu)
        if (CPU_ISSET_S(static_cast<std::size_t>(cpu), bytes, set.get())) cpus.push_back(cpu);
    return cpus;
}

std::map<std::string, std::string> allowed_variables() {
    std::map<std::string, std::string> variables;
    for (char** entry = environ; *entry != nullptr; ++entry) {
        const std::string_view text = *entry;
        const auto name = text.substr(0, text.find('='));
        if (name.size() < text.size() && is_allowed(name))
            variables.emplace(name, text.substr(name.size() + 1));
    }
    return variables;
}

std::string encode(const Host& host, const RankPlace& place) {
    const nlohmann::json value = {{"host", host.name},         {"cpu_model", host.cpu_model},
                                  {"num_cpus", host.num_cpus}, {"memory_bytes", host.memory_bytes},
                                  {"rank", place.rank},        {"cpus", place.cpus},
                                  {"threads", place.threads},  {"device", place.device.value_or("")}};
    return value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

void add_ranks(Environment& environment, const std::vector<std::string>& encoded) {
    for (const std::string& text : encoded) {
        const auto value = nlohmann::json::parse(text, nullptr, false);
        if (!value.is_object())
            throw Error(Exit::internal, fmt::format("not a rank's description: '{}'", text));
        const std::string host_name = value.at("host");
        const Host host = {host_name, value.at("cpu_model"), value.at("num_cpus"), value.at("memory_bytes")};
        auto& hosts = environment.hosts;
        if (std::find(hosts.begin(), hosts.end(), host) == hosts.end()) hosts.push_back(host);
        const std::string device = value.at("device");
        environment.ranks.push_back({value.at("rank"), host_name, value.at("cpus"), value.at("threads"),
                                     device.empty() ? std::nullopt : std::optional(device)});
    }
}

std::string utc_now() {
    const std::time_t now = std::time(nullptr);
    std::tm parts{};
    gmtime_r(&now, &parts);
    std::array<char, 32> text{};
    std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &parts);
    return text.data();
}

std::string file_stamp(const std::string& utc) {
    std::string stamp = utc;
    std::erase_if(stamp, [](char c) { return c == '-' || c == ':'; });
    return stamp;
}

std::string new_run_id() {
    std::random_device entropy;
    std::array<std::uint32_t, 4> bits = {entropy(), entropy(), entropy(), entropy()};
    bits[1] = (bits[1] & 0xffff0fffU) | 0x00004000U;  // version 4
    bits[2] = (bits[2] & 0x3fffffffU) | 0x80000000U;  // RFC 4122's variant
    return fmt::format("{:08x}-{:04x}-{:04x}-{:04x}-{:04x}{:08x}", bits[0], bits[1] >> 16, bits[1] & 0xffff,
                       bits[2] >> 16, bits[2] & 0xffff, bits[3]);
}

}  // namespace eps::report
