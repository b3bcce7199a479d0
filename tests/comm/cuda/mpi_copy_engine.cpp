// Exchanges by copy engines; ranks share GPUs where there are more ranks than GPUs.
#include "base/error.hpp"
#include "comm/cuda/windows.hpp"
#include "tests/catch.hpp"
#include "tests/comm/cuda/async_rounds.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <thread>

namespace eps::comm::cuda {
namespace {

TEST_CASE("copy engines do what every communicator does") {
    MpiWorld world;
    take_device(world);
    Communicator& all = world.communicator();
    const DeviceMemory memory(512 * kMiB);
    Windows windows(all);
    windows.add(memory.data(), memory.bytes());
    const auto exchange = copy_engine_exchange(all, windows);
    StagedCommunicator staged(*exchange, all, memory);
    CHECK_NOTHROW(checks::all_to_all(staged, 3000));
    CHECK_NOTHROW(checks::all_to_all(staged, 70'000'000 / all.size() + 1));  // on several streams
    CHECK_NOTHROW(checks::message_order(staged));
    CHECK_NOTHROW(checks::collectives(staged));
}

TEST_CASE("copy engines: two lanes at once, thousands of rounds over the same memory") {
    MpiWorld world;
    take_device(world);
    Communicator& all = world.communicator();
    const DeviceMemory memory(2 * RoundsOfLane::device_bytes(all.size()));
    Windows windows(all);
    windows.add(memory.data(), memory.bytes());
    const auto first = copy_engine_exchange(all, windows);
    const auto second = copy_engine_exchange(all, windows);
    check_two_lanes(*first, *second, memory.data(), 3000);
    all.barrier();
}

/// Exchanges of messages from none to large, in turn on the lane and on streams beside it, over the same
/// memory; looks at the ends of messages and where their parts meet.
class LargeRounds {
  public:
    static constexpr std::int64_t kMostBytes = 40'000'000;  // of a message
    static std::int64_t device_bytes(std::int64_t size) { return 2 * size * kMostBytes; }

    LargeRounds(DeviceExchange& exchange, std::byte* memory, std::int64_t salt, std::int64_t num_rounds)
        : exchange_(exchange),
          out_(memory),
          in_(memory + exchange.size() * kMostBytes),
          salt_(salt),
          found_(num_rounds * exchange.size() * kNumPlaces) {}

    void enqueue(std::int64_t round) {
        const std::int64_t me = exchange_.rank(), size = exchange_.size();
        if (round % 4 == me % 4) require(cudaLaunchHostFunc(stream_, nap, nullptr));
        require(cudaMemsetAsync(in_, kNothing, at(size * kMostBytes), stream_));
        std::vector<Message> sends, receives;
        for (std::int64_t peer = 0; peer < size; ++peer) {
            sends.push_back({peer, out_ + peer * kMostBytes, bytes_of(me, peer, round)});
            receives.push_back({peer, in_ + peer * kMostBytes, bytes_of(peer, me, round)});
            require(cudaMemsetAsync(sends.back().data, value_of(me, peer, round), at(sends.back().bytes),
                                    stream_));
        }
        exchange_.exchange(sends, receives, stream_);
        for (const Message& message : receives)
            for (const std::int64_t place : places_in(message.bytes)) {
                require(cudaMemcpyAsync(found_.data() + num_looked_++, message.data + place, 1,
                                        cudaMemcpyDeviceToHost, stream_));
                wanted_.push_back(place < message.bytes ? value_of(message.peer, me, round) : kNothing);
            }
    }

    /// Waits, and counts the bytes that are not what the peers sent, or not as they were where nothing came.
    std::int64_t num_wrong() {
        stream_.synchronize();
        exchange_.check();
        std::int64_t wrong = 0;
        for (std::int64_t i = 0; i < num_looked_; ++i)
            wrong += std::to_integer<int>(found_.data()[i]) == wanted_[at(i)] ? 0 : 1;
        return wrong;
    }

  private:
    static constexpr int kNothing = 0xee;
    static constexpr std::int64_t kNumPlaces = 7;

    static void nap(void*) { std::this_thread::sleep_for(std::chrono::milliseconds(2)); }
    std::int64_t bytes_of(std::int64_t from, std::int64_t to, std::int64_t round) const {
        constexpr std::array<std::int64_t, 4> kBytes{kMostBytes, 1000, 0, 20'000'007};
        return kBytes[at((from + 2 * to + round + salt_) % 4)];
    }
    int value_of(std::int64_t from, std::int64_t to, std::int64_t round) const {
        return static_cast<int>(1 + (from * 5 + to * 31 + round * 7 + salt_ * 11) % 200);
    }
    static std::array<std::int64_t, kNumPlaces> places_in(std::int64_t bytes) {
        const auto seam = [bytes](std::int64_t i) { return bytes * i / 3 / 4096 * 4096; };
        return {0,
                seam(1),
                seam(1) + 4096,
                seam(2),
                seam(2) + 4096,
                std::max<std::int64_t>(1, bytes) - 1,
                std::min(bytes, kMostBytes - 1)};
    }

    DeviceExchange& exchange_;
    Stream stream_{kUrgent};
    std::byte* out_;
    std::byte* in_;
    std::int64_t salt_, num_looked_ = 0;
    PinnedMemory found_;
    std::vector<int> wanted_;
};

TEST_CASE("copy engines: large and small messages in turn on two lanes") {
    MpiWorld world;
    take_device(world);
    Communicator& all = world.communicator();
    constexpr std::int64_t kRounds = 24;
    const std::int64_t lane_bytes = LargeRounds::device_bytes(all.size());
    const DeviceMemory memory(2 * lane_bytes);
    Windows windows(all);
    windows.add(memory.data(), memory.bytes());
    const auto first = copy_engine_exchange(all, windows), second = copy_engine_exchange(all, windows);
    LargeRounds rounds(*first, memory.data(), 0, kRounds),
        others(*second, memory.data() + lane_bytes, 3, kRounds);
    for (std::int64_t round = 0; round < kRounds; ++round) {
        rounds.enqueue(round);
        if (round % 3 != 1) others.enqueue(round);
    }
    CHECK(rounds.num_wrong() == 0);
    CHECK(others.num_wrong() == 0);
    all.barrier();
}

TEST_CASE("copy engines: groups of ranks over the same windows, windows that come and go") {
    MpiWorld world;
    take_device(world);
    Communicator& all = world.communicator();
    const DeviceMemory kept(kMiB), other(kMiB);
    Windows windows(all);
    windows.add(kept.data(), kMiB / 2);
    const auto parity = all.split(all.rank() % 2, -all.rank());  // reversed
    const auto exchange = copy_engine_exchange(*parity, windows);
    StagedCommunicator staged(*exchange, *parity, kept);
    for (int round = 0; round < 3; ++round) {
        // The last rank opens nothing; a window may begin anywhere in its memory.
        const bool opens = all.rank() + 1 < all.size() || all.size() == 1;
        const std::int32_t window = windows.add(opens ? other.data() + 4096 : nullptr, opens ? kMiB / 4 : 0);
        CHECK_NOTHROW(checks::all_to_all(staged, 3000));
        if (opens) CHECK(windows.place_of(other.data() + 5000, 10).offset == 5000 - 4096);
        windows.remove(window);
        CHECK_THROWS_AS(windows.place_of(other.data() + 5000, 10), Error);
    }
}

TEST_CASE("copy engines: more messages than a mailbox holds") {
    MpiWorld world;
    take_device(world);
    Communicator& all = world.communicator();
    const std::int64_t size = all.size(), me = all.rank();
    const std::int64_t next = (me + 1) % size, before = (me + size - 1) % size;
    constexpr std::int64_t kCount = 1000, kBytes = 100;
    const DeviceMemory memory(2 * kCount * kBytes);
    Windows windows(all);
    windows.add(memory.data(), memory.bytes());
    const auto exchange = copy_engine_exchange(all, windows);
    StagedCommunicator staged(*exchange, all, memory);

    Bytes out = checks::patterned(me, next, 0, kCount * kBytes), in(out.size());
    std::vector<Message> sends, receives;
    for (std::int64_t i = 0; i < kCount; ++i) {
        sends.push_back({next, out.data() + i * kBytes, kBytes});
        receives.push_back({before, in.data() + i * kBytes, kBytes});
    }
    staged.exchange(sends, receives);
    CHECK(in == checks::patterned(before, me, 0, kCount * kBytes));
}

TEST_CASE("copy engines: misuse is an error") {
    MpiWorld world;
    take_device(world);
    Communicator& all = world.communicator();
    const DeviceMemory memory(kMiB);
    Windows windows(all);
    windows.add(memory.data(), kMiB / 2);
    const auto exchange = copy_engine_exchange(all, windows);
    const Stream stream;
    const auto receive = [&](std::int64_t peer, std::int64_t offset, std::int64_t bytes) {
        exchange->exchange({}, std::vector<Message>{{peer, memory.data() + offset, bytes}}, stream);
    };
    const std::int64_t next = (all.rank() + 1) % all.size();
    CHECK_THROWS_AS(receive(next, kMiB / 2 - 8, 16), Error);  // beyond the window; alone: nobody sends it
    CHECK_THROWS_WITH(receive(all.size(), 0, 16), contains_text("names rank"));
    CHECK_THROWS_WITH(receive(all.rank(), 0, 16), contains_text("message to itself"));
    CHECK_THROWS_WITH(windows.take(4 * kMiB), contains_text("over the same windows"));
    all.barrier();
}

// 2 GiB and a little: ranks 0 and 1, or a rank with itself.
TEST_CASE("copy engines: a message beyond 2 GiB", "[large]") {
    MpiWorld world;
    take_device(world);
    Communicator& all = world.communicator();
    constexpr std::int64_t kBytes = (std::int64_t{2} << 30) + 4099;
    constexpr std::int64_t kBlock = 16 * kMiB - 3;  // a block starts nowhere near a round number
    const bool takes_part = all.rank() < 2;
    const std::int64_t peer = all.size() == 1 ? 0 : 1 - all.rank();
    std::size_t free_bytes = 0, all_bytes = 0;
    require(cudaMemGetInfo(&free_bytes, &all_bytes));
    REQUIRE(free_bytes > at(2 * kBytes));  // of an H100 or better: there is room
    all.barrier();

    const DeviceMemory memory(takes_part ? 2 * kBytes : 1);
    Windows windows(all);
    windows.add(memory.data(), memory.bytes());
    const auto exchange = copy_engine_exchange(all, windows);
    std::vector<Message> sends, receives;
    if (takes_part) {
        const Bytes block = checks::patterned(all.rank(), 0, 0, kBlock);
        for (std::int64_t begin = 0; begin < kBytes; begin += kBlock)
            require(cudaMemcpy(memory.data() + begin, block.data(), at(std::min(kBlock, kBytes - begin)),
                               cudaMemcpyHostToDevice));
        require(cudaDeviceSynchronize());
        sends.push_back({peer, memory.data(), kBytes});
        receives.push_back({peer, memory.data() + kBytes, kBytes});
    }
    const Stream stream;
    exchange->exchange(sends, receives, stream);
    stream.synchronize();
    std::int64_t wrong_blocks = 0;
    if (takes_part) {
        const Bytes wanted = checks::patterned(peer, 0, 0, kBlock);
        Bytes in(at(kBlock));
        for (std::int64_t begin = 0; begin < kBytes; begin += kBlock) {
            const auto bytes = at(std::min(kBlock, kBytes - begin));
            require(cudaMemcpy(in.data(), memory.data() + kBytes + begin, bytes, cudaMemcpyDeviceToHost));
            wrong_blocks += std::memcmp(in.data(), wanted.data(), bytes) == 0 ? 0 : 1;
        }
    }
    CHECK(wrong_blocks == 0);
    all.barrier();
}

}  // namespace
}  // namespace eps::comm::cuda
