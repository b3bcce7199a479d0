#include "backend/cuda/memory.hpp"

#include <fmt/format.h>

namespace eps::backend::cuda {

DeviceBytes::DeviceBytes(std::int64_t size, std::string_view what) : size_(size) {
    if (size == 0) return;
    void* data = nullptr;
    check(cudaMalloc(&data, static_cast<std::size_t>(size)),
          fmt::format("taking {} bytes of GPU memory for {}", size, what));
    data_ = static_cast<std::byte*>(data);
}

DeviceBytes::~DeviceBytes() {
    if (data_ != nullptr) cudaFree(data_);
}

PinnedBytes::PinnedBytes(std::int64_t size) : size_(size) {
    void* data = nullptr;
    check(cudaMallocHost(&data, static_cast<std::size_t>(size)),
          fmt::format("taking {} bytes of page-locked memory", size));
    data_ = static_cast<std::byte*>(data);
}

PinnedBytes::~PinnedBytes() {
    if (data_ != nullptr) cudaFreeHost(data_);
}

}  // namespace eps::backend::cuda
