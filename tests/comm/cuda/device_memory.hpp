// What the tests of exchanges on GPUs share: the device of a rank, memory, streams, and host ranks that talk
// through device memory.
#pragma once

#include "base/range.hpp"
#include "comm/cuda/device_exchange.hpp"
#include "comm/mpi.hpp"

#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include <cuda_runtime_api.h>

namespace eps::comm::cuda {

inline constexpr std::int64_t kMiB = std::int64_t{1} << 20;

inline void require(cudaError_t result) {
    if (result != cudaSuccess) throw std::runtime_error(cudaGetErrorString(result));
}

inline std::int64_t num_devices() {
    int count = 0;
    require(cudaGetDeviceCount(&count));
    return count;
}

/// Ranks take turns on the devices of their host.
inline void take_device(const MpiWorld& world) {
    require(cudaSetDevice(static_cast<int>(world.local_rank() % num_devices())));
}

inline constexpr int kUrgent = -1;  // as an exchange lane

class Stream {
  public:
    explicit Stream(int priority = 0) {
        require(cudaStreamCreateWithPriority(&stream_, cudaStreamNonBlocking, priority));
    }
    ~Stream() { cudaStreamDestroy(stream_); }
    Stream(const Stream&) = delete;
    Stream& operator=(const Stream&) = delete;
    operator cudaStream_t() const { return stream_; }
    void synchronize() const { require(cudaStreamSynchronize(stream_)); }

  private:
    cudaStream_t stream_ = nullptr;
};

class DeviceMemory {
  public:
    explicit DeviceMemory(std::int64_t bytes) : bytes_(bytes) {
        void* memory = nullptr;
        require(cudaMalloc(&memory, at(bytes)));
        data_ = static_cast<std::byte*>(memory);
    }
    ~DeviceMemory() { cudaFree(data_); }
    DeviceMemory(const DeviceMemory&) = delete;
    DeviceMemory& operator=(const DeviceMemory&) = delete;
    std::byte* data() const { return data_; }
    std::int64_t bytes() const { return bytes_; }

  private:
    std::byte* data_ = nullptr;
    std::int64_t bytes_;
};

class PinnedMemory {
  public:
    explicit PinnedMemory(std::int64_t bytes) {
        void* memory = nullptr;
        require(cudaMallocHost(&memory, at(bytes)));
        data_ = static_cast<std::byte*>(memory);
    }
    ~PinnedMemory() { cudaFreeHost(data_); }
    PinnedMemory(const PinnedMemory&) = delete;
    PinnedMemory& operator=(const PinnedMemory&) = delete;
    std::byte* data() const { return data_; }

  private:
    std::byte* data_ = nullptr;
};

/// Host messages that go by way of `memory` and a device exchange: what every communicator must do, exchanges
/// on devices do too.
class StagedCommunicator final : public Communicator {
  public:
    StagedCommunicator(DeviceExchange& exchange, Communicator& group, const DeviceMemory& memory)
        : exchange_(exchange), group_(group), memory_(memory) {}

    std::int64_t rank() const override { return exchange_.rank(); }
    std::int64_t size() const override { return exchange_.size(); }
    void barrier() override { group_.barrier(); }
    std::unique_ptr<Communicator> duplicate() override { throw std::logic_error("not staged"); }
    std::unique_ptr<Communicator> split(std::int64_t, std::int64_t) override {
        throw std::logic_error("not staged");
    }
    [[noreturn]] void abort(int status) override {
        group_.abort(status);
        std::abort();
    }

    void exchange(std::span<const Message> sends, std::span<const Message> receives) override {
        std::byte* next = memory_.data();
        const auto staged = [&](std::span<const Message> messages) {
            std::vector<Message> list(messages.begin(), messages.end());
            for (Message& message : list) {
                message.data = next;
                next += message.bytes;
            }
            return list;
        };
        const std::vector<Message> out = staged(sends), in = staged(receives);
        if (next > memory_.data() + memory_.bytes()) throw std::logic_error("too little memory to stage");
        for (std::size_t i = 0; i < out.size(); ++i) copy(out[i].data, sends[i].data, sends[i].bytes);
        exchange_.exchange(out, in, stream_);
        stream_.synchronize();
        exchange_.check();
        for (std::size_t i = 0; i < in.size(); ++i) copy(receives[i].data, in[i].data, in[i].bytes);
    }

  private:
    void copy(std::byte* to, const std::byte* from, std::int64_t bytes) {
        if (bytes == 0) return;
        require(cudaMemcpyAsync(to, from, at(bytes), cudaMemcpyDefault, stream_));
        stream_.synchronize();
    }

    DeviceExchange& exchange_;
    Communicator& group_;
    const DeviceMemory& memory_;
    Stream stream_;
};

}  // namespace eps::comm::cuda
