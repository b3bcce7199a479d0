// NVIDIA's management library, found at run time: a machine without it has no meter.
#pragma once

#include "backend/meter.hpp"

#include <memory>
#include <string>

namespace eps::backend::cuda {

/// The meter of the GPU at this PCI address ("00000000:1B:00.0"), or one that measures nothing where the
/// library or the GPU is not there.
std::unique_ptr<Meter> open_meter(const std::string& pci_address, std::int64_t device);

}  // namespace eps::backend::cuda
