// What the exchanges of a group of ranks share, whatever carries the bytes. For files of this folder.
#pragma once

#include "base/range.hpp"
#include "comm/cuda/call.hpp"
#include "comm/cuda/device_exchange.hpp"
#include "comm/messages.hpp"

#include <functional>
#include <utility>

namespace eps::comm::cuda {

class GroupExchange : public DeviceExchange {
  public:
    explicit GroupExchange(const Communicator& group) : rank_(group.rank()), size_(group.size()) {}

    std::int64_t rank() const final { return rank_; }
    std::int64_t size() const final { return size_; }
    void while_waiting(std::function<void()> look) final { look_ = std::move(look); }

    void exchange(std::span<const Message> sends, std::span<const Message> receives,
                  CUstream_st* stream) final {
        check_messages(sends, size_);
        check_messages(receives, size_);
        enqueue(sends, receives, stream);
    }

  protected:
    /// exchange() of messages that are well formed.
    virtual void enqueue(std::span<const Message> sends, std::span<const Message> receives,
                         CUstream_st* stream) = 0;

    /// Not to this rank itself, and not empty.
    bool travels(const Message& message) const { return message.bytes > 0 && message.peer != rank_; }

    static void copy(std::byte* to, const std::byte* from, std::int64_t bytes, CUstream_st* stream) {
        cuda::check(cudaMemcpyAsync(to, from, at(bytes), cudaMemcpyDeviceToDevice, stream),
                    "cudaMemcpyAsync");
    }

    /// The messages of this rank to itself.
    void copy_own(std::span<const Message> sends, std::span<const Message> receives,
                  CUstream_st* stream) const {
        pair_own_messages(rank_, sends, receives, [stream](const Message& from, const Message& to) {
            copy(to.data, from.data, from.bytes, stream);
        });
    }

    /// The host waits for others: while_waiting()'s function, and the core is theirs. Never sleeps: who is
    /// waited for is microseconds away, and the end of a sleep tens of them.
    void pause() const;

    const std::int64_t rank_, size_;

  private:
    std::function<void()> look_;
};

}  // namespace eps::comm::cuda
