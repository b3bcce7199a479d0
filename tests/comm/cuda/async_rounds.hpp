// Many exchanges that are only enqueued, over the same memory again and again, on lanes of different pace:
// every byte is checked, and a transfer that comes before its receiver is ready is overwritten and missed.
#pragma once

#include "tests/catch.hpp"
#include "tests/comm/cuda/device_memory.hpp"
#include "tests/comm/exchange_checks.hpp"

#include <algorithm>
#include <chrono>
#include <memory>
#include <thread>

namespace eps::comm::cuda {

class RoundsOfLane {
  public:
    static constexpr std::int64_t kMostBytes = 2000;  // of a message

    /// Memory that a lane needs, half of it to receive.
    static std::int64_t device_bytes(std::int64_t size) { return 2 * size * kMostBytes; }

    RoundsOfLane(DeviceExchange& exchange, std::byte* memory, std::int64_t salt, std::int64_t num_rounds)
        : exchange_(exchange),
          out_(memory),
          in_(memory + row_bytes()),
          salt_(salt),
          num_rounds_(num_rounds),
          sources_(num_rounds * row_bytes()),
          results_(num_rounds * row_bytes()) {
        std::memset(results_.data(), 0, at(num_rounds * row_bytes()));
        for (std::int64_t round = 0; round < num_rounds; ++round)
            for (std::int64_t peer = 0; peer < exchange.size(); ++peer)
                for (std::int64_t i = 0; i < bytes_of(exchange.rank(), peer, round); ++i)
                    *place(sources_, round, peer, i) =
                        checks::pattern(exchange.rank(), peer, salt_ + round, at(i));
    }

    void enqueue(std::int64_t round) {
        const auto row = at(row_bytes());
        if (round % 16 == exchange_.rank() % 16) require(cudaLaunchHostFunc(stream_, nap, nullptr));
        require(cudaMemcpyAsync(out_, place(sources_, round, 0, 0), row, cudaMemcpyHostToDevice, stream_));
        require(cudaMemsetAsync(in_, 0xee, row, stream_));
        std::vector<Message> sends, receives;
        for (std::int64_t peer = 0; peer < exchange_.size(); ++peer) {
            sends.push_back({peer, out_ + peer * kMostBytes, bytes_of(exchange_.rank(), peer, round)});
            receives.push_back({peer, in_ + peer * kMostBytes, bytes_of(peer, exchange_.rank(), round)});
        }
        exchange_.exchange(sends, receives, stream_);
        require(cudaMemcpyAsync(place(results_, round, 0, 0), in_, row, cudaMemcpyDeviceToHost, stream_));
    }

    /// Waits, and counts the bytes that are not what the peers sent, or not as they were where nothing came.
    std::int64_t num_wrong() {
        stream_.synchronize();
        exchange_.check();
        std::int64_t wrong = 0;
        for (std::int64_t round = 0; round < num_rounds_; ++round)
            for (std::int64_t peer = 0; peer < exchange_.size(); ++peer) {
                const std::int64_t bytes = bytes_of(peer, exchange_.rank(), round);
                for (std::int64_t i = 0; i < kMostBytes; ++i) {
                    const std::byte wanted =
                        i < bytes ? checks::pattern(peer, exchange_.rank(), salt_ + round, at(i))
                                  : std::byte{0xee};
                    wrong += *place(results_, round, peer, i) == wanted ? 0 : 1;
                }
            }
        return wrong;
    }

  private:
    static void nap(void*) { std::this_thread::sleep_for(std::chrono::microseconds(200)); }

    std::int64_t row_bytes() const { return exchange_.size() * kMostBytes; }
    std::byte* place(const PinnedMemory& memory, std::int64_t round, std::int64_t peer,
                     std::int64_t i) const {
        return memory.data() + round * row_bytes() + peer * kMostBytes + i;
    }
    // From none to all, uneven, also for messages to oneself.
    std::int64_t bytes_of(std::int64_t from, std::int64_t to, std::int64_t round) const {
        return (from * 7 + to * 3 + round * 11 + salt_) % 51 * kMostBytes / 50;
    }

    DeviceExchange& exchange_;
    Stream stream_;
    std::byte* out_;
    std::byte* in_;
    std::int64_t salt_, num_rounds_;
    PinnedMemory sources_, results_;  // a row for each round
};

/// Two lanes at once, one with a third of the other's rounds. `memory` is two times
/// RoundsOfLane::device_bytes.
inline void check_two_lanes(DeviceExchange& first, DeviceExchange& second, std::byte* memory,
                            std::int64_t num_rounds) {
    RoundsOfLane fast(first, memory, 0, num_rounds);
    RoundsOfLane slow(second, memory + RoundsOfLane::device_bytes(first.size()), 1000, num_rounds / 3);
    for (std::int64_t round = 0; round < num_rounds; ++round) {
        fast.enqueue(round);
        if (round % 3 == 1) slow.enqueue(round / 3);
    }
    CHECK(fast.num_wrong() == 0);
    CHECK(slow.num_wrong() == 0);
}

}  // namespace eps::comm::cuda
