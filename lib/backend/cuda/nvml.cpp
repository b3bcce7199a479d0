#include "backend/cuda/nvml.hpp"

#include "backend/energy_per_pass.hpp"

#include <algorithm>
#include <chrono>
#include <future>

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

    bool measures() const override { return true; }

    void look() override {
        ++num_passes_;
        const auto now = std::chrono::steady_clock::now();
        if (now - last_look_ < std::chrono::milliseconds(100)) return;
        last_look_ = now;
        add_look();
        looking_ =
            std::async(std::launch::async, [this, passes = num_passes_] { return seen_after(passes); });
    }

    MeterReading take() override {
        add_look();
        MeterReading taken = seen_;
        const double looks = std::max(num_looks_, 1.0);
        taken.mean_clock_mhz /= looks;
        taken.mean_power_w /= looks;
        taken.joules_per_pass = energy_.joules();
        taken.device = number_;
        seen_ = {};
        num_looks_ = 0;
        num_passes_ = 0;
        energy_ = EnergyPerPass(counter_mj());
        return taken;
    }

  private:
    struct Look {
        std::int64_t num_passes = 0;
        std::uint64_t energy_mj = 0, slowdowns = 0;
        unsigned clock_mhz = 0, power_mw = 0;
        bool complete = false;
    };

    Look seen_after(std::int64_t num_passes) const {
        Look look{.num_passes = num_passes, .energy_mj = counter_mj()};
        unsigned long long reasons = 0;
        look.complete = library_.clock(device_, kClockOfMultiprocessors, &look.clock_mhz) == kOk &&
                        library_.power_mw(device_, &look.power_mw) == kOk;
        if (library_.reasons(device_, &reasons) == kOk) look.slowdowns = slowdowns_of(reasons);
        return look;
    }

    // The last look, once it has ended.
    void add_look() {
        if (!looking_.valid()) return;
        const Look look = looking_.get();
        energy_.read(look.energy_mj, look.num_passes);
        seen_.slowdowns |= look.slowdowns;
        if (!look.complete) return;
        seen_.mean_clock_mhz += look.clock_mhz;
        seen_.mean_power_w += look.power_mw * 1e-3;
        ++num_looks_;
    }

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
    std::int64_t num_passes_ = 0;  // since the last take()
    std::future<Look> looking_;    // the last one; waits for it at the end
};

}  // namespace

std::unique_ptr<Meter> open_meter(const std::string& pci_address, std::int64_t device) {
    Library library;
    NvmlDevice handle = nullptr;
    if (!library.open() || library.device_at(pci_address.c_str(), &handle) != kOk)
        return std::make_unique<Meter>();
    return std::make_unique<NvmlMeter>(library, handle, device);
}

}  // namespace eps::backend::cuda
