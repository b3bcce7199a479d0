#include "backend/cuda/nvml.hpp"

#include "backend/energy_per_pass.hpp"

#include <algorithm>
#include <chrono>

#include <dlfcn.h>

namespace eps::backend::cuda {

namespace {

using NvmlDevice = void*;
constexpr int kOk = 0;
constexpr int kClockOfMultiprocessors = 1;

// Why clocks are lower than they could be, as the library numbers it.
constexpr unsigned long long kSoftwarePowerCap = 0x4, kHardwareSlowdown = 0x8, kSoftwareThermal = 0x20,
                             kHardwareThermal = 0x40, kHardwarePowerBrake = 0x80;

struct Library {
    int (*init)() = nullptr;
    int (*device_at)(const char*, NvmlDevice*) = nullptr;
    int (*clock)(NvmlDevice, int, unsigned*) = nullptr;
    int (*power_mw)(NvmlDevice, unsigned*) = nullptr;
    int (*energy_mj)(NvmlDevice, unsigned long long*) = nullptr;
    int (*reasons)(NvmlDevice, unsigned long long*) = nullptr;

    bool open() {
        void* const file = dlopen("libnvidia-ml.so.1", RTLD_NOW);
        if (file == nullptr) return false;
        const auto find = [&](auto& function, const char* name) {
            function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(file, name));
            return function != nullptr;
        };
        return find(init, "nvmlInit_v2") && find(device_at, "nvmlDeviceGetHandleByPciBusId_v2") &&
               find(clock, "nvmlDeviceGetClockInfo") && find(power_mw, "nvmlDeviceGetPowerUsage") &&
               find(energy_mj, "nvmlDeviceGetTotalEnergyConsumption") &&
               find(reasons, "nvmlDeviceGetCurrentClocksThrottleReasons") && init() == kOk;
    }
};

std::uint64_t slowdowns_of(unsigned long long reasons) {
    std::uint64_t slowdowns = 0;
    if ((reasons & kSoftwarePowerCap) != 0) slowdowns |= kPowerCap;
    if ((reasons & (kSoftwareThermal | kHardwareThermal)) != 0) slowdowns |= kThermal;
    if ((reasons & kHardwarePowerBrake) != 0) slowdowns |= kPowerBrake;
    // It is set beside its causes, too.
    if ((reasons & kHardwareSlowdown) != 0 && (reasons & (kHardwareThermal | kHardwarePowerBrake)) == 0)
        slowdowns |= kHardware;
    return slowdowns;
}

class NvmlMeter : public Meter {
  public:
    NvmlMeter(const Library& library, NvmlDevice device, std::int64_t number)
        : library_(library), device_(device), number_(number), energy_(counter_mj()) {}

    void look() override {
        energy_.count_pass();
        const auto now = std::chrono::steady_clock::now();
        if (now - last_look_ < std::chrono::milliseconds(100)) return;
        last_look_ = now;
        energy_.read(counter_mj());
        unsigned clock = 0, power = 0;
        unsigned long long reasons = 0;
        if (library_.clock(device_, kClockOfMultiprocessors, &clock) != kOk ||
            library_.power_mw(device_, &power) != kOk)
            return;
        if (library_.reasons(device_, &reasons) == kOk) seen_.slowdowns |= slowdowns_of(reasons);
        seen_.mean_clock_mhz += clock;
        seen_.mean_power_w += power * 1e-3;
        ++num_looks_;
    }

    MeterReading take() override {
        MeterReading taken = seen_;
        const double looks = std::max(num_looks_, 1.0);
        taken.mean_clock_mhz /= looks;
        taken.mean_power_w /= looks;
        taken.joules_per_pass = energy_.joules();
        taken.device = number_;
        seen_ = {};
        num_looks_ = 0;
        energy_ = EnergyPerPass(counter_mj());
        return taken;
    }

  private:
    // 0 where the device counts none.
    unsigned long long counter_mj() const {
        unsigned long long value = 0;
        return library_.energy_mj(device_, &value) == kOk ? value : 0;
    }

    Library library_;
    NvmlDevice device_;
    std::int64_t number_;
    EnergyPerPass energy_;
    std::chrono::steady_clock::time_point last_look_;
    MeterReading seen_;
    double num_looks_ = 0;
};

}  // namespace

std::unique_ptr<Meter> open_meter(const std::string& pci_address, std::int64_t device) {
    Library library;
    NvmlDevice handle = nullptr;
    if (!library.open() || library.device_at(pci_address.c_str(), &handle) != kOk) return nullptr;
    return std::make_unique<NvmlMeter>(library, handle, device);
}

}  // namespace eps::backend::cuda
