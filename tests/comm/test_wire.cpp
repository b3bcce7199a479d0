// The emulated wire: its arithmetic on given times, and exchanges that last as long as it says.
#include "comm/loopback.hpp"
#include "comm/progress.hpp"
#include "comm/wire.hpp"
#include "tests/catch.hpp"
#include "tests/comm/exchange_checks.hpp"

#include <atomic>
#include <ctime>
#include <deque>
#include <functional>
#include <thread>

namespace eps::comm {
namespace {

constexpr std::int64_t kMs = 1'000'000;
constexpr Link kSlow{0.001, 2000};           // 1 MB/s, so 1000 bytes take a millisecond; 2 ms of latency
constexpr std::int64_t kSlackNs = 25 * kMs;  // a thread may be woken late on a busy machine
constexpr int kAttempts = 3;                 // of which the quickest counts

double processor_seconds() {
    timespec time = {};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

using ClockOf = std::function<std::uint64_t(std::int64_t rank)>;

/// `body` on every rank of a wired loopback world; when each ended, from the first start on.
std::vector<std::int64_t> elapsed_ns(
    std::int64_t num_ranks, const Link& link, const std::function<void(Communicator&)>& body,
    const ClockOf& clock_of = [](std::int64_t) { return this_clock(); }) {
    std::vector<std::int64_t> quickest;
    for (int attempt = 0; attempt < kAttempts; ++attempt) {
        std::vector<std::int64_t> begins(static_cast<std::size_t>(num_ranks)), ends(begins.size());
        std::deque<Wire> wires;
        for (std::int64_t rank = 0; rank < num_ranks; ++rank) wires.emplace_back(clock_of(rank));
        run_on_loopback(num_ranks, [&](Communicator& world) {
            const auto rank = static_cast<std::size_t>(world.rank());
            wires[rank].use(link);
            const auto wired = over_wire(world.duplicate(), wires[rank]);
            world.barrier();
            begins[rank] = steady_now_ns();
            body(*wired);
            ends[rank] = steady_now_ns();
        });
        const std::int64_t first_ns = *std::ranges::min_element(begins);
        if (quickest.empty()) quickest = ends;
        for (std::size_t rank = 0; rank < ends.size(); ++rank)
            quickest[rank] =
                attempt == 0 ? ends[rank] - first_ns : std::min(quickest[rank], ends[rank] - first_ns);
    }
    return quickest;
}

/// The time is that of the wire, or a little more.
void check_lasts(std::int64_t elapsed, std::int64_t wire_ns) {
    INFO(elapsed << " ns, of the wire " << wire_ns);
    CHECK(elapsed >= wire_ns);
    CHECK(elapsed < wire_ns + kSlackNs);
}

void exchange_one(Communicator& communicator, std::int64_t to, std::int64_t send_bytes, std::int64_t from,
                  std::int64_t receive_bytes) {
    const Bytes out = checks::patterned(communicator.rank(), to, 5, send_bytes);
    Bytes in(static_cast<std::size_t>(receive_bytes));
    communicator.exchange(std::vector<Message>{{to, const_cast<std::byte*>(out.data()), send_bytes}},
                          std::vector<Message>{{from, in.data(), receive_bytes}});
    checks::expect(in == checks::patterned(from, communicator.rank(), 5, receive_bytes), "other bytes came");
}

}  // namespace

TEST_CASE("one direction of a wire carries one message after the other, in the first gap that fits") {
    BusyTimes times;
    CHECK(times.reserve(100, 10) == 100);
    CHECK(times.reserve(100, 10) == 110);
    CHECK(times.reserve(200, 50) == 200);
    CHECK(times.reserve(105, 80) == 120);  // fills the gap to the brim
    CHECK(times.reserve(105, 1) == 250);   // which is gone
    CHECK(times.reserve(90, 10) == 90);    // before everything
    CHECK(times.reserve(95, 0) == 251);    // no length, but its place in the queue
    CHECK(times.reserve(0, 1000) == 251);
    times.clear();
    CHECK(times.reserve(0, 1) == 0);
}

TEST_CASE("what was long ago is forgotten, what lies ahead is not") {
    BusyTimes times;
    for (std::int64_t i = 0; i < 2000; ++i) REQUIRE(times.reserve(10 * i, 5) == 10 * i);
    CHECK(times.reserve(19'990, 3) == 19'995);
    CHECK(times.reserve(19'980, 5) == 19'985);
    CHECK(times.reserve(0, 5) == 0);
}

TEST_CASE("a wire queues what leaves and what arrives, each by itself") {
    Wire wire;
    wire.use(Link{1, 0.5});  // a byte a nanosecond, 500 ns of latency
    CHECK(wire.leave(1000, 300) == 1000);
    CHECK(wire.leave(1100, 100) == 1300);
    CHECK(wire.leave(1100, 0) == 1400);
    CHECK(wire.arrive(1000, 300) == 1800);
    CHECK(wire.arrive(1000, 300) == 2100);  // of another rank, at the same time
    CHECK(wire.arrive(1000, 0) == 2100);
    wire.use(Link{2, 0});
    CHECK(wire.leave(1000, 300) == 1000);  // another wire has carried nothing
    CHECK(wire.arrive(1000, 300) == 1150);
}

TEST_CASE("both directions carry at once; both ranks wait for latency and bytes") {
    for (const std::int64_t elapsed : elapsed_ns(2, kSlow, [](Communicator& communicator) {
             const std::int64_t other = 1 - communicator.rank();
             exchange_one(communicator, other, 30'000, other, 30'000);
         }))
        check_lasts(elapsed, 32 * kMs);
}

TEST_CASE("a sender is done when its message has left, a receiver when it has arrived") {
    const auto elapsed = elapsed_ns(2, Link{0.001, 60'000}, [](Communicator& communicator) {
        const std::int64_t me = communicator.rank();
        exchange_one(communicator, 1, me == 0 ? 20'000 : 0, 0, me == 1 ? 20'000 : 0);
    });
    check_lasts(elapsed[0], 20 * kMs);
    check_lasts(elapsed[1], 80 * kMs);
}

TEST_CASE("messages of all lanes share a rank's wire") {
    std::atomic<int> lanes = 0;
    for (const std::int64_t elapsed : elapsed_ns(2, kSlow, [&](Communicator& communicator) {
             const std::int64_t other = 1 - communicator.rank();
             const auto second = communicator.duplicate();
             std::thread lane([&] {
                 exchange_one(*second, other, 30'000, other, 30'000);
                 ++lanes;
             });
             exchange_one(communicator, other, 30'000, other, 30'000);
             lane.join();
         }))
        check_lasts(elapsed, 62 * kMs);
    CHECK(lanes == 2 * kAttempts);
}

TEST_CASE("an exchange of all with all takes what one rank sends, not more") {
    for (const std::int64_t elapsed : elapsed_ns(4, kSlow, [](Communicator& communicator) {
             checks::exchange_with_all(communicator, 1, [](std::int64_t, std::int64_t) { return 10'000; });
         }))
        check_lasts(elapsed, 32 * kMs);
}

TEST_CASE("many to one queue at the receiver") {
    const auto elapsed = elapsed_ns(4, kSlow, [](Communicator& communicator) {
        checks::exchange_with_all(communicator, 1,
                                  [](std::int64_t, std::int64_t to) { return to == 2 ? 10'000 : 0; });
    });
    check_lasts(elapsed[0], 10 * kMs);
    check_lasts(elapsed[2], 32 * kMs);
}

TEST_CASE("what goes nowhere does not wait: to oneself, empty, a barrier, no link") {
    const auto quick = [](Communicator& communicator) {
        checks::exchange_with_all(
            communicator, 1, [](std::int64_t from, std::int64_t to) { return from == to ? 1'000'000 : 0; });
        communicator.barrier();
    };
    for (const std::int64_t elapsed : elapsed_ns(2, Link{0.001, 500'000}, quick)) CHECK(elapsed < 400 * kMs);
    Wire wire;
    run_on_loopback(1, [&](Communicator& world) {
        const auto wired = over_wire(world.duplicate(), wire);
        quick(*wired);
    });
}

TEST_CASE("a message waits for a receiver that comes late, and has arrived by then") {
    const auto elapsed = elapsed_ns(2, kSlow, [](Communicator& communicator) {
        if (communicator.rank() == 1) std::this_thread::sleep_for(std::chrono::milliseconds(100));
        const std::int64_t me = communicator.rank();
        exchange_one(communicator, 1, me == 0 ? 20'000 : 0, 0, me == 1 ? 20'000 : 0);
    });
    check_lasts(elapsed[1], 100 * kMs);
}

TEST_CASE("without a common clock messages never come early") {
    for (const std::int64_t elapsed : elapsed_ns(
             2, kSlow,
             [](Communicator& communicator) {
                 const std::int64_t other = 1 - communicator.rank();
                 exchange_one(communicator, other, 30'000, other, 30'000);
             },
             [](std::int64_t rank) { return static_cast<std::uint64_t>(rank + 1); }))
        check_lasts(elapsed, 32 * kMs);
}

TEST_CASE("waiting for the wire sleeps") {
    std::vector<double> burned(2);
    elapsed_ns(2, kSlow, [&](Communicator& communicator) {
        const double before = processor_seconds();
        const std::int64_t other = 1 - communicator.rank();
        exchange_one(communicator, other, 200'000, other, 200'000);
        burned[static_cast<std::size_t>(communicator.rank())] = processor_seconds() - before;
    });
    CHECK(burned[0] < 0.05);
    CHECK(burned[1] < 0.05);
}

TEST_CASE("a wired communicator is one like any other") {
    std::deque<Wire> wires;
    for (int i = 0; i < 3; ++i) wires.emplace_back();
    REQUIRE_NOTHROW(run_on_loopback(3, [&](Communicator& world) {
        Wire& wire = wires[static_cast<std::size_t>(world.rank())];
        wire.use(Link{1, 1});
        const auto wired = over_wire(world.duplicate(), wire);
        checks::all_to_all(*wired, 3000);
        checks::message_order(*wired);
        checks::barrier(*wired);
        checks::split(*wired);
        checks::collectives(*wired);
        checks::lanes(*wired, 3, 20);
        checks::expect(share_clock(*wired), "threads of one process share a clock");
    }));
}

}  // namespace eps::comm
