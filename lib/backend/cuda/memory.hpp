// Memory that is taken once: device bytes, page-locked host bytes, and a plan of what lies where in them.
#pragma once

#include "comm/cuda/call.hpp"

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>

namespace eps::backend::cuda {

using comm::cuda::check;

/// One cudaMalloc. Errors: resource, naming `what`.
class DeviceBytes {
  public:
    DeviceBytes() = default;
    DeviceBytes(std::int64_t size, std::string_view what);
    DeviceBytes(DeviceBytes&& other) noexcept { swap(other); }
    DeviceBytes& operator=(DeviceBytes&& other) noexcept {
        swap(other);
        return *this;
    }
    ~DeviceBytes();

    std::byte* data() const { return data_; }
    std::int64_t size() const { return size_; }

  private:
    void swap(DeviceBytes& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
    }
    std::byte* data_ = nullptr;
    std::int64_t size_ = 0;
};

/// Host memory that copies reach without a detour. Errors: resource.
class PinnedBytes {
  public:
    explicit PinnedBytes(std::int64_t size);
    ~PinnedBytes();
    PinnedBytes(const PinnedBytes&) = delete;
    PinnedBytes& operator=(const PinnedBytes&) = delete;

    std::byte* data() const { return data_; }
    std::int64_t size() const { return size_; }

  private:
    std::byte* data_ = nullptr;
    std::int64_t size_ = 0;
};

/// What lies where in one allocation: pieces one after the other, each aligned to 256 bytes.
class Layout {
  public:
    /// The offset of the next `bytes`.
    std::int64_t take(std::int64_t bytes) {
        const std::int64_t offset = bytes_;
        bytes_ += (bytes + 255) / 256 * 256;
        return offset;
    }
    std::int64_t bytes() const { return bytes_; }

  private:
    std::int64_t bytes_ = 0;
};

}  // namespace eps::backend::cuda
