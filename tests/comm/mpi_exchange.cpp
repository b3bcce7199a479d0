#include "base/error.hpp"
#include "comm/mpi.hpp"
#include "tests/catch.hpp"
#include "tests/comm/exchange_checks.hpp"

#include <chrono>
#include <thread>

namespace eps::comm {
namespace {

TEST_CASE("MPI ranks do what every communicator does") {
    MpiWorld world;
    Communicator& all = world.communicator();
    CHECK_NOTHROW(checks::all_to_all(all, 3000));
    CHECK_NOTHROW(checks::all_to_all(all, 3'500'000));  // several pieces, beyond the eager limit
    CHECK_NOTHROW(checks::message_order(all));
    CHECK_NOTHROW(checks::barrier(all));
    CHECK_NOTHROW(checks::split(all));
    CHECK_NOTHROW(checks::collectives(all));
}

TEST_CASE("MPI lanes of a rank talk at once") {
    MpiWorld world;
    CHECK_NOTHROW(checks::lanes(world.communicator(), 3, 100));
}

TEST_CASE("the world knows its hosts") {
    MpiWorld world;
    Communicator& all = world.communicator();
    CHECK(world.hosts().size() == static_cast<std::size_t>(all.size()));
    CHECK(!world.hosts().front().empty());
    CHECK(world.library_version().find('\n') == std::string::npos);
    CHECK(!world.library_version().empty());
    CHECK(world.local_rank() < world.local_size());
    CHECK(world.local_size() <= all.size());
}

/// Rank 0 sends `sent` bytes to rank 1, which expects `expected`; rank 1's error, "" elsewhere.
std::string mismatch(Communicator& all, std::int64_t sent, std::int64_t expected) {
    Bytes data(static_cast<std::size_t>(std::max(sent, expected)));
    std::string error;
    try {
        if (all.rank() == 0) all.exchange(std::vector{Message{1, data.data(), sent}}, {});
        if (all.rank() == 1) all.exchange({}, std::vector{Message{0, data.data(), expected}});
    } catch (const Error& e) {
        error = e.what();
    }
    return error;
}

TEST_CASE("MPI: byte counts that differ are an error that names both ranks") {
    MpiWorld world;
    Communicator& all = world.communicator();
    const std::string shorter = all.size() > 1 ? mismatch(all, 8, 16) : "";
    const std::string longer = all.size() > 1 ? mismatch(all, 16, 8) : "";
    const std::string long_shorter = all.size() > 1 ? mismatch(all, 500'000, 1'000'000) : "";
    if (all.rank() == 1) {
        CHECK(shorter == "rank 0 sends 8 bytes to rank 1, which expects 16");
        CHECK(longer == "rank 0 sends more bytes to rank 1 than the 8 it expects");
        CHECK(long_shorter == "rank 0 sends 500000 bytes to rank 1, which expects 1000000");
    } else {
        CHECK(shorter + longer + long_shorter == "");
    }
    CHECK_THROWS_AS(all.split(-1, 0), Error);
}

// Waiting must leave the cores to those who compute: a rank that waits for a second uses little of it.
TEST_CASE("a waiting rank hardly uses its core") {
    MpiWorld world;
    Communicator& all = world.communicator();
    const auto cpu_s = [] {
        timespec used{};
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
        return static_cast<double>(used.tv_sec) + static_cast<double>(used.tv_nsec) * 1e-9;
    };
    all.barrier();
    const double before_s = cpu_s();
    if (all.rank() == 0) std::this_thread::sleep_for(std::chrono::seconds(1));
    all.barrier();
    CHECK(cpu_s() - before_s < 0.3);
}

// 2.5 GiB each way: by hand, needs 10 GiB. mpirun -n 2 mpi_comm "[.large]"
TEST_CASE("a message beyond the int counts of MPI", "[.large]") {
    MpiWorld world;
    checks::exchange_with_all(world.communicator(), 0, [](std::int64_t from, std::int64_t to) {
        return from == to ? std::int64_t{0} : (std::int64_t{5} << 29) + from;
    });
    CHECK(true);
}

}  // namespace
}  // namespace eps::comm
