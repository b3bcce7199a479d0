#include "backend/cuda/devices.hpp"

#include "comm/cuda/call.hpp"

#include <array>
#include <cstdlib>

#include <fmt/format.h>

namespace eps::backend::cuda {

using comm::cuda::check;

namespace {

// Without a driver there are none.
int count_devices(std::string& why) {
    int count = 0;
    const cudaError_t error = cudaGetDeviceCount(&count);
    if (error == cudaSuccess) return count;
    why = fmt::format(" ({})", cudaGetErrorString(error));
    cudaGetLastError();
    return 0;
}

cudaDeviceProp properties_of(int number) {
    cudaDeviceProp properties{};
    check(cudaGetDeviceProperties(&properties, number), "asking for a GPU's properties");
    return properties;
}

std::string uuid_of(const cudaDeviceProp& properties) {
    std::string text = "GPU-";
    for (int i = 0; i < 16; ++i) {
        if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
        text += fmt::format("{:02x}", static_cast<unsigned char>(properties.uuid.bytes[i]));
    }
    return text;
}

std::string version_text(int version) {
    return fmt::format("{}.{}", version / 1000, version % 1000 / 10);
}

}  // namespace

Device use_device(const BackendSetup& setup) {
    setenv("CUDA_DEVICE_MAX_CONNECTIONS", "32", 0);  // read when CUDA starts
    std::string why;
    const int count = count_devices(why);
    if (count == 0)
        throw Error(
            Exit::resource,
            fmt::format("host {} has no GPU that CUDA can use{}; use the backend \"cpu\"", setup.host, why));
    if (setup.num_local_ranks > count && !setup.share_devices) {
        const char* const visible = std::getenv("CUDA_VISIBLE_DEVICES");
        throw Error(
            Exit::resource,
            fmt::format("{} ranks were started on host {}, which has {} GPUs; start one rank for each GPU{}",
                        setup.num_local_ranks, setup.host, count,
                        visible == nullptr ? ""
                                           : fmt::format(", and let every rank see all of them "
                                                         "(CUDA_VISIBLE_DEVICES is \"{}\")",
                                                         visible)));
    }
    const int number = static_cast<int>(setup.local_rank % count);
    check(cudaSetDevice(number), fmt::format("using GPU {}", number));
    check(cudaFree(nullptr), fmt::format("starting CUDA on GPU {}", number));
    const cudaDeviceProp properties = properties_of(number);
    std::array<char, 32> address{};
    check(cudaDeviceGetPCIBusId(address.data(), static_cast<int>(address.size()), number),
          "asking for a PCI address");
    return {.number = number,
            .num_devices = count,
            .pci_address = address.data(),
            .model = properties.name,
            .name = fmt::format("{}, GPU {} ({})", properties.name, number, uuid_of(properties)),
            .cache_bytes = properties.l2CacheSize};
}

bool all_on_one_host(const BackendSetup& setup) {
    return setup.num_local_ranks == setup.world->size();
}

std::int64_t free_bytes() {
    std::size_t free = 0, total = 0;
    check(cudaMemGetInfo(&free, &total), "asking for free GPU memory");
    return static_cast<std::int64_t>(free);
}

std::string cuda_versions() {
    int runtime = 0, driver = 0;
    check(cudaRuntimeGetVersion(&runtime), "asking for CUDA's version");
    check(cudaDriverGetVersion(&driver), "asking for the driver's version");
    return fmt::format("CUDA {}, driver {}", version_text(runtime), version_text(driver));
}

std::string device_list() {
    std::string why, text;
    const int count = count_devices(why);
    for (int number = 0; number < count; ++number) {
        const cudaDeviceProp properties = properties_of(number);
        text += fmt::format("  {}  {}, {} MiB, {} multiprocessors, compute capability {}.{}, {}\n", number,
                            properties.name, properties.totalGlobalMem >> 20, properties.multiProcessorCount,
                            properties.major, properties.minor, uuid_of(properties));
    }
    return count > 0 ? text : fmt::format("  none{}\n", why);
}

}  // namespace eps::backend::cuda
