// The GPUs of this machine, and which one a rank takes.
#pragma once

#include "backend/backend.hpp"

#include <cstdint>
#include <string>

namespace eps::backend::cuda {

struct Device {
    int number = 0;
    int num_devices = 0;
    std::string pci_address;
    std::string model;             // "NVIDIA H200"
    std::string name;              // "NVIDIA H200, GPU 0 (GPU-0c3a...)"
    std::int64_t cache_bytes = 0;  // of the L2 cache
};

/// Makes the GPU of the rank's place on its host the thread's own: one for every rank, or, where sharing is
/// wanted, in turn. Errors: resource (no GPU, or fewer than ranks).
Device use_device(const BackendSetup& setup);

bool all_on_one_host(const BackendSetup& setup);

/// Of the current GPU.
std::int64_t free_bytes();

/// "CUDA 13.0, driver 13.0"
std::string cuda_versions();

/// One line a GPU, for --list-devices.
std::string device_list();

}  // namespace eps::backend::cuda
