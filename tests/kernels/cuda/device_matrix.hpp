// Rows in device memory, copied from and to a Matrix, gaps and all.
#pragma once

#include "kernels/cuda/kernels.hpp"
#include "tests/catch.hpp"
#include "tests/kernels/matrix.hpp"

#include <cstring>
#include <vector>

#include <cuda_runtime.h>

namespace eps::kernels {

inline void require_cuda(cudaError_t error) {
    INFO(cudaGetErrorString(error));
    REQUIRE(error == cudaSuccess);
}

/// `count` values in device memory; kept for the end of the test.
template <typename T>
class DeviceArray {
  public:
    explicit DeviceArray(const std::vector<T>& values) : count_(values.size()) {
        require_cuda(cudaMalloc(reinterpret_cast<void**>(&data_), (count_ + 1) * sizeof(T)));
        require_cuda(cudaMemcpy(data_, values.data(), count_ * sizeof(T), cudaMemcpyHostToDevice));
    }
    ~DeviceArray() { cudaFree(data_); }
    DeviceArray(const DeviceArray&) = delete;
    DeviceArray& operator=(const DeviceArray&) = delete;

    T* get() const { return data_; }
    std::vector<T> host() const {
        std::vector<T> values(count_);
        require_cuda(cudaMemcpy(values.data(), data_, count_ * sizeof(T), cudaMemcpyDeviceToHost));
        return values;
    }

  private:
    T* data_ = nullptr;
    std::size_t count_;
};

class DeviceMatrix {
  public:
    explicit DeviceMatrix(const Matrix& from) : from_(from), bytes_(from.storage()), rows_(from.rows()) {
        rows_.data = bytes_.get();
    }
    operator Rows() const { return rows_; }
    const Rows& rows() const { return rows_; }

    /// What the device holds now. Bytes of gaps and beyond the end must be as they were.
    Matrix host() const {
        Matrix result(from_);
        const std::vector<std::byte> now = bytes_.host();
        std::memcpy(result.rows().data, now.data(), now.size());
        const std::int64_t row_bytes = rows_.stride * bytes_of(rows_.dtype);
        const std::int64_t used = rows_.num_cols * bytes_of(rows_.dtype);
        for (std::int64_t i = 0; i < std::ssize(now); ++i)
            if (i / std::max<std::int64_t>(row_bytes, 1) >= rows_.num_rows || i % row_bytes >= used)
                if (now[static_cast<std::size_t>(i)] != from_.storage()[static_cast<std::size_t>(i)])
                    FAIL("byte " << i << " outside of the rows was written");
        return result;
    }

  private:
    Matrix from_;
    DeviceArray<std::byte> bytes_;
    Rows rows_;
};

}  // namespace eps::kernels
