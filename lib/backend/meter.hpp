// What a device tells about itself while it works: clock, power, energy, and why it was slowed down.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace eps::backend {

/// Since the last take(). Plain data, for ranks to send.
struct MeterReading {
    double joules_per_pass = -1;  // < 0: not counted by this device, or not for long enough
    double mean_clock_mhz = 0;    // 0: not looked at, as is power
    double mean_power_w = 0;
    std::uint64_t slowdowns = 0;  // Slowdown bits
    std::int64_t device = 0;      // ranks of a host that share a device give the same number
};

enum Slowdown : std::uint64_t { kPowerCap = 1, kThermal = 2, kHardware = 4, kPowerBrake = 8 };

/// In words; empty without any. `invalid`: whether figures taken meanwhile prove nothing (all but the power
/// cap, which is how these devices work).
inline std::vector<std::string> names_of_slowdowns(std::uint64_t slowdowns, bool invalid) {
    std::vector<std::string> names;
    if (!invalid && (slowdowns & kPowerCap) != 0) names.emplace_back("software power cap");
    if (invalid && (slowdowns & kThermal) != 0) names.emplace_back("thermal slowdown");
    if (invalid && (slowdowns & kHardware) != 0) names.emplace_back("hardware slowdown");
    if (invalid && (slowdowns & kPowerBrake) != 0) names.emplace_back("power brake");
    return names;
}

/// This one measures nothing: of backends and machines that have none.
class Meter {
  public:
    Meter() = default;
    virtual ~Meter() = default;
    Meter(const Meter&) = delete;
    Meter& operator=(const Meter&) = delete;

    virtual bool measures() const { return false; }
    /// A pass has ended. Looks at clock, power, energy and slowdowns ten times a second, beside the passes
    /// that follow: it takes milliseconds, in which the device would rest.
    virtual void look() {}
    /// What was seen since the last take().
    virtual MeterReading take() { return {}; }
};

}  // namespace eps::backend
