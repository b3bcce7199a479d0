// The emulated wire on GPUs: exchanges last as long as it says, over all lanes of a rank.
#include "comm/cuda/windows.hpp"
#include "comm/cuda/wire.hpp"
#include "comm/progress.hpp"
#include "tests/catch.hpp"
#include "tests/comm/cuda/async_rounds.hpp"

namespace eps::comm::cuda {
namespace {

constexpr std::int64_t kMs = 1'000'000;
constexpr Link kSlow{0.1, 3000};             // 100 kB take a millisecond; 3 ms of latency
constexpr std::int64_t kSlackNs = 25 * kMs;  // for each rank: those that share a GPU take turns on it
constexpr std::int64_t kClockNs = 20'000;    // clocks of GPUs are set as well as that
constexpr int kAttempts = 3;                 // of which the quickest counts

/// Two lanes over a wire, and memory for their messages.
struct Lanes {
    explicit Lanes(Communicator& all) : memory(64 << 20), windows(all) {
        windows.add(memory.data(), memory.bytes());
        for (auto& lane : lanes) lane = over_wire(copy_engine_exchange(all, windows), wire, all, &windows);
    }

    DeviceMemory memory;
    Windows windows;
    DeviceWire wire;
    std::unique_ptr<DeviceExchange> lanes[2];
    Stream streams[2];
};

/// How long every rank's `enqueue` takes until its streams are done, on the slowest rank.
template <typename Enqueue>
std::int64_t elapsed_ns(Communicator& all, Lanes& lanes, Enqueue enqueue) {
    std::int64_t quickest = 0;
    for (int attempt = 0; attempt < kAttempts; ++attempt) {
        lanes.wire.set_clock();
        all.barrier();
        const std::int64_t begin_ns = steady_now_ns();
        enqueue();
        for (const Stream& stream : lanes.streams) stream.synchronize();
        const std::int64_t slowest = max_over_ranks(all, steady_now_ns() - begin_ns);
        quickest = attempt == 0 ? slowest : std::min(quickest, slowest);
    }
    return quickest;
}

void check_lasts(std::int64_t num_ranks, std::int64_t elapsed, std::int64_t wire_ns) {
    INFO(elapsed << " ns, of the wire " << wire_ns);
    CHECK(elapsed >= wire_ns - kClockNs);
    CHECK(elapsed < wire_ns + num_ranks * kSlackNs);
}

TEST_CASE("an exchange on a GPU lasts as long as its wire says") {
    MpiWorld world;
    take_device(world);
    Communicator& all = world.communicator();
    Lanes lanes(all);
    lanes.wire.use(kSlow);
    const std::int64_t size = all.size(), bytes = 2'000'000;
    const auto all_to_all = [&](int lane) {
        std::vector<Message> sends, receives;
        for (std::int64_t peer = 0; peer < size; ++peer) {
            std::byte* mine = lanes.memory.data() + (32 << 20) * lane + 2 * peer * bytes;
            sends.push_back({peer, mine, bytes});
            receives.push_back({peer, mine + bytes, bytes});
        }
        lanes.lanes[lane]->exchange(sends, receives, lanes.streams[lane]);
    };
    // Messages to oneself do not travel.
    const std::int64_t wire_ns = size == 1 ? 0 : 3 * kMs + (size - 1) * 20 * kMs;
    check_lasts(size, elapsed_ns(all, lanes, [&] { all_to_all(0); }), wire_ns);
    // Two lanes share the wire.
    const std::int64_t shared_ns = size == 1 ? 0 : 3 * kMs + 2 * (size - 1) * 20 * kMs;
    check_lasts(size,
                elapsed_ns(all, lanes,
                           [&] {
                               all_to_all(0);
                               all_to_all(1);
                           }),
                shared_ns);
    lanes.wire.use(std::nullopt);
    check_lasts(size, elapsed_ns(all, lanes, [&] { all_to_all(0); }), 0);
    all.barrier();
}

TEST_CASE("bytes over a wire are what was sent") {
    MpiWorld world;
    take_device(world);
    Communicator& all = world.communicator();
    Lanes lanes(all);
    lanes.wire.use(Link{10, 20});
    constexpr std::int64_t kRounds = 300;
    RoundsOfLane rounds(*lanes.lanes[0], lanes.memory.data(), 0, kRounds);
    RoundsOfLane others(*lanes.lanes[1], lanes.memory.data() + (32 << 20), 500, kRounds);
    for (std::int64_t round = 0; round < kRounds; ++round) {
        rounds.enqueue(round);
        others.enqueue(round);
    }
    CHECK(rounds.num_wrong() == 0);
    CHECK(others.num_wrong() == 0);
    StagedCommunicator staged(*lanes.lanes[0], all, lanes.memory);
    CHECK_NOTHROW(checks::message_order(staged));
    all.barrier();
}

}  // namespace
}  // namespace eps::comm::cuda
