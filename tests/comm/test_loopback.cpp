#include "base/error.hpp"
#include "comm/loopback.hpp"
#include "tests/catch.hpp"
#include "tests/comm/exchange_checks.hpp"

#include <atomic>
#include <chrono>
#include <thread>

namespace eps::comm {
namespace {

/// Runs `body` on each rank; the message of each rank's Error, "" where there was none.
std::vector<std::string> errors_of(std::int64_t num_ranks, double time_limit_s,
                                   const std::function<void(Communicator&)>& body) {
    const auto ranks = make_loopback(num_ranks, time_limit_s);
    std::vector<std::string> errors(ranks.size());
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < ranks.size(); ++i) {
        threads.emplace_back([&, i] {
            try {
                body(*ranks[i]);
            } catch (const Error& error) {
                errors[i] = error.what();
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    return errors;
}

void send_one(Communicator& communicator, std::int64_t to, std::int64_t bytes) {
    Bytes data(static_cast<std::size_t>(bytes));
    communicator.exchange(std::vector<Message>{{to, data.data(), bytes}}, {});
}

void receive_one(Communicator& communicator, std::int64_t from, std::int64_t bytes) {
    Bytes data(static_cast<std::size_t>(bytes));
    communicator.exchange({}, std::vector<Message>{{from, data.data(), bytes}});
}

TEST_CASE("loopback ranks do what every communicator does") {
    const std::int64_t num_ranks = GENERATE(1, 2, 3, 4, 7);
    CAPTURE(num_ranks);
    REQUIRE_NOTHROW(run_on_loopback(num_ranks, [](Communicator& communicator) {
        checks::all_to_all(communicator, 3000);
        checks::message_order(communicator);
        checks::barrier(communicator);
        checks::split(communicator);
        checks::collectives(communicator);
    }));
}

TEST_CASE("loopback lanes of a rank talk at once") {
    REQUIRE_NOTHROW(
        run_on_loopback(3, [](Communicator& communicator) { checks::lanes(communicator, 3, 60); }));
}

TEST_CASE("byte counts that differ are an error at both ends that names both ranks") {
    const auto errors = errors_of(3, 10, [](Communicator& communicator) {
        if (communicator.rank() == 0) send_one(communicator, 2, 16);
        if (communicator.rank() == 2) receive_one(communicator, 0, 8);
    });
    CHECK(errors[0] == "rank 0 sends 16 bytes to rank 2, which expects 8");
    CHECK(errors[1].empty());
    CHECK(errors[2] == errors[0]);
}

TEST_CASE("a message to oneself that does not pair up is an error") {
    const auto ranks = make_loopback(1);
    Bytes data(8);
    const Message eight = {0, data.data(), 8};
    const Message four = {0, data.data(), 4};
    CHECK_THROWS_WITH(ranks[0]->exchange(std::vector{eight}, std::vector{four}),
                      "rank 0 sends 8 bytes to rank 0, which expects 4");
    CHECK_THROWS_WITH(ranks[0]->exchange(std::vector{eight}, {}), contains_text("does not receive"));
    CHECK_THROWS_WITH(ranks[0]->exchange({}, std::vector{eight}), contains_text("does not send"));
    CHECK_THROWS_WITH(ranks[0]->exchange(std::vector{Message{1, data.data(), 8}}, {}),
                      contains_text("names rank 1"));
    CHECK_THROWS_WITH(ranks[0]->exchange(std::vector{Message{0, nullptr, 8}}, {}),
                      contains_text("no memory"));
}

TEST_CASE("waiting too long names who waits for what") {
    const auto receiver = errors_of(2, 0.1, [](Communicator& communicator) {
        if (communicator.rank() == 0) receive_one(communicator, 1, 24);
    });
    CHECK_THAT(receiver[0], contains_text("rank 0 has waited for 24 bytes from rank 1"));
    const auto sender = errors_of(2, 0.1, [](Communicator& communicator) {
        if (communicator.rank() == 1) send_one(communicator, 0, 24);
    });
    CHECK_THAT(sender[1], contains_text("rank 1 has waited for rank 0 to receive 24 bytes"));
    const auto at_barrier = errors_of(2, 0.1, [](Communicator& communicator) {
        if (communicator.rank() == 1) communicator.barrier();
    });
    CHECK_THAT(at_barrier[1], contains_text("rank 1 has waited at a barrier"));
}

TEST_CASE("abort ends the waiting ranks, on every communicator of the run") {
    const auto errors = errors_of(3, 10, [](Communicator& communicator) {
        const auto lane = communicator.duplicate();
        if (communicator.rank() == 0) receive_one(*lane, 1, 8);
        if (communicator.rank() == 1) communicator.barrier();
        if (communicator.rank() == 2) communicator.abort(6);
    });
    for (const std::string& error : errors) CHECK(error == "rank 2 ended the run with status 6");
}

TEST_CASE("the first exception of a rank stops the others and comes out") {
    REQUIRE_THROWS_WITH(run_on_loopback(3,
                                        [](Communicator& communicator) {
                                            if (communicator.rank() == 1) throw std::runtime_error("broken");
                                            communicator.barrier();
                                        }),
                        "broken");
}

TEST_CASE("one communicator is not for two threads at a time") {
    const auto ranks = make_loopback(2, 10);
    std::atomic<bool> first_stopped = false;
    std::thread first([&] {
        try {
            ranks[0]->barrier();  // never completed: rank 1 does not come
        } catch (const Error&) {
            first_stopped = true;
        }
    });
    std::string message;
    while (message.empty()) {
        try {
            ranks[0]->exchange({}, {});
        } catch (const Error& error) {
            message = error.what();
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    CHECK(message == "two threads of rank 0 use one communicator at a time");
    CHECK_THROWS_AS(ranks[1]->abort(70), Error);
    first.join();
    CHECK(first_stopped);
}

}  // namespace
}  // namespace eps::comm
