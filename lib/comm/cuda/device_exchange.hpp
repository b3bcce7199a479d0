// How ranks exchange device memory: the verb of communicator.hpp, enqueued on a stream.
//
// Transports: NCCL, whose kernels do the copies, and copy engines, which write into the receivers' memory and
// leave the SMs to the GEMMs. All enqueue and return; with copy engines the host also waits until the hosts
// of the receivers have called exchange(). So one thread drives all lanes of a rank, and all ranks call
// exchange() of their lanes in one common order, as the ops of a plan have.
#pragma once

#include "comm/communicator.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <span>

struct CUstream_st;

namespace eps::comm::cuda {

class Windows;

/// The exchanges of one lane and its group of ranks.
class DeviceExchange {
  public:
    virtual ~DeviceExchange() = default;
    virtual std::int64_t rank() const = 0;
    virtual std::int64_t size() const = 0;

    /// Enqueues all messages; what follows on `stream` runs when they are complete. Data are device memory of
    /// the current device (receives lie in a window where copy engines are used). What an exchange sends to a
    /// rank, one exchange of that rank receives, in the same order, with the same byte counts; messages to
    /// oneself are local copies; zero-byte messages are not sent. Any size. Always on the same stream, or on
    /// one that waits for the last. Errors: internal (misuse, a CUDA call), communication.
    virtual void exchange(std::span<const Message> sends, std::span<const Message> receives,
                          CUstream_st* stream) = 0;

    /// Throws Error(communication) where something went wrong since it was enqueued. Never waits.
    virtual void check() = 0;

    /// From now on `look` is called now and then while exchange() waits for other hosts.
    virtual void while_waiting(std::function<void()> look) = 0;
};

/// Over NCCL: a GPU for every rank of the group; `num_ctas` is the most thread blocks (SMs) that it takes, 0
/// leaves the choice to NCCL. Collective, the destructor too. NVLink multicast is off unless the user sets
/// NCCL_NVLS_ENABLE. Errors: resource (ranks share a GPU), communication.
std::unique_ptr<DeviceExchange> nccl_exchange(Communicator& group, int num_ctas);

/// By copy engines into the receivers' windows (CUDA IPC): ranks of one host, which may share GPUs. Ranks of
/// `group` are ranks of the windows' communicator; the windows outlive it. Several exchanges share windows.
/// Collective; destroyed when no rank of the group has one of its exchanges under way.
std::unique_ptr<DeviceExchange> copy_engine_exchange(Communicator& group, Windows& windows);

}  // namespace eps::comm::cuda
