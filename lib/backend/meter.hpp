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

class Meter {
  public:
    virtual ~Meter() = default;
    /// After each pass. Looks at clock, power, energy and slowdowns, which may take milliseconds, but not
    /// more often than ten times a second: pauses would let the device rest.
    virtual void look() = 0;
    /// What was seen since the last take().
    virtual MeterReading take() = 0;
};

}  // namespace eps::backend
