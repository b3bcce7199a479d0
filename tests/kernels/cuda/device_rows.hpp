// Rows that are made in device memory: for sizes at which a copy on the host would take too long.
#pragma once

#include "base/error.hpp"
#include "kernels/cuda/kernels.hpp"

#include <cstdint>
#include <string>
#include <vector>

#include <cuda_runtime.h>

namespace eps::kernels {

inline void must(cudaError_t error) {
    if (error != cudaSuccess) throw Error(Exit::internal, std::string("CUDA: ") + cudaGetErrorString(error));
}

/// Uninitialised device memory.
class DeviceBytes {
  public:
    explicit DeviceBytes(std::int64_t size) {
        must(cudaMalloc(reinterpret_cast<void**>(&data_), static_cast<std::size_t>(size + 1)));
    }
    ~DeviceBytes() { cudaFree(data_); }
    DeviceBytes(const DeviceBytes&) = delete;
    DeviceBytes& operator=(const DeviceBytes&) = delete;
    std::byte* get() const { return data_; }

  private:
    std::byte* data_ = nullptr;
};

/// Rows without gaps, of normals with deviation `scale`, a different sequence for every key.
class DeviceRows {
  public:
    DeviceRows(DType dtype, std::int64_t num_rows, std::int64_t num_cols, std::uint64_t key, float scale = 1)
        : bytes_(num_rows * num_cols * bytes_of(dtype)),
          rows_{bytes_.get(), dtype, num_rows, num_cols, num_cols} {
        device::fill_normal(nullptr, key, 0, scale, num_cols, 0, 0, rows_);
    }
    operator Rows() const { return rows_; }
    const Rows& rows() const { return rows_; }

    /// All bytes, after everything that was enqueued.
    std::vector<std::byte> host() const {
        std::vector<std::byte> bytes(
            static_cast<std::size_t>(rows_.num_rows * rows_.num_cols * bytes_of(rows_.dtype)));
        must(cudaDeviceSynchronize());
        must(cudaMemcpy(bytes.data(), rows_.data, bytes.size(), cudaMemcpyDeviceToHost));
        return bytes;
    }

  private:
    DeviceBytes bytes_;
    Rows rows_;
};

}  // namespace eps::kernels
