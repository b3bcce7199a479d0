// What the devices said of themselves while a case ran: energy, clock, power, slowdowns.
#include "app/results.hpp"
#include "comm/collectives.hpp"

#include <cstring>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace eps {

void add_energy(comm::Communicator& world, const backend::MeterReading& mine, const std::string& host,
                report::Result& result) {
    const std::vector<std::string> hosts = comm::all_gather_strings(world, host);
    const auto all = comm::gather_bytes(world, 0, std::as_bytes(std::span(&mine, 1)));
    if (world.rank() != 0) return;
    double pass_j = 0, clock_mhz = 0, power_w = 0;
    std::uint64_t slowdowns = 0;
    bool counted = true;
    std::set<std::pair<std::string, std::int64_t>> devices;  // ranks may share one
    for (std::size_t rank = 0; rank < all.size(); ++rank) {
        backend::MeterReading reading;
        std::memcpy(&reading, all[rank].data(), sizeof reading);
        slowdowns |= reading.slowdowns;
        if (!devices.emplace(hosts[rank], reading.device).second) continue;
        counted = counted && reading.joules_per_pass >= 0;
        pass_j += reading.joules_per_pass;
        clock_mhz += reading.mean_clock_mhz;
        power_w += reading.mean_power_w;
    }
    const auto num_devices = static_cast<double>(devices.size());
    const auto add = [&](const char* name, const char* unit, bool higher_is_better, double value) {
        report::Metric metric;
        metric.name = name;
        metric.unit = unit;
        metric.higher_is_better = higher_is_better;
        metric.samples = {value};
        metric.median = metric.min = metric.max = value;
        result.metrics.push_back(std::move(metric));
    };
    if (counted)
        add("joules_per_1000_tokens", "J", false, 1000 * pass_j / static_cast<double>(result.tokens));
    if (clock_mhz > 0) add("device_clock", "MHz", true, clock_mhz / num_devices);
    if (power_w > 0) add("device_power", "W", false, power_w / num_devices);
    if (const auto usual = backend::names_of_slowdowns(slowdowns, false); !usual.empty())
        result.notes.push_back(fmt::format("the GPUs' clocks were held back: {}", fmt::join(usual, ", ")));
    for (const std::string& name : backend::names_of_slowdowns(slowdowns, true))
        result.invalid_reasons.push_back(fmt::format("a GPU was slowed down: {}", name));
}

}  // namespace eps
