// What every communicator must do, told once: the tests run it over loopback threads and over MPI processes.
// Each check is collective and throws std::runtime_error on the rank that sees something wrong.
#pragma once

#include "comm/collectives.hpp"
#include "comm/communicator.hpp"
#include "comm/progress.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <exception>
#include <limits>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace eps::comm::checks {

inline void expect(bool holds, const std::string& what) {
    if (!holds) throw std::runtime_error(what);
}

inline std::byte pattern(std::int64_t from, std::int64_t to, std::int64_t salt, std::size_t i) {
    return static_cast<std::byte>((from * 31 + to * 57 + salt * 101 + static_cast<std::int64_t>(i) * 7) &
                                  0xff);
}

inline Bytes patterned(std::int64_t from, std::int64_t to, std::int64_t salt, std::int64_t bytes) {
    Bytes data(static_cast<std::size_t>(bytes));
    for (std::size_t i = 0; i < data.size(); ++i) data[i] = pattern(from, to, salt, i);
    return data;
}

/// One exchange between every pair, self included; `bytes_of(from, to)` may be zero.
template <typename BytesOf>
void exchange_with_all(Communicator& communicator, std::int64_t salt, BytesOf bytes_of) {
    const std::int64_t me = communicator.rank();
    std::vector<Bytes> out;
    std::vector<Bytes> in;
    std::vector<Message> sends;
    std::vector<Message> receives;
    for (std::int64_t peer = 0; peer < communicator.size(); ++peer) {
        out.push_back(patterned(me, peer, salt, bytes_of(me, peer)));
        in.emplace_back(static_cast<std::size_t>(bytes_of(peer, me)));
        sends.push_back({peer, out.back().data(), static_cast<std::int64_t>(out.back().size())});
        receives.push_back({peer, in.back().data(), static_cast<std::int64_t>(in.back().size())});
    }
    communicator.exchange(sends, receives);
    for (std::int64_t peer = 0; peer < communicator.size(); ++peer) {
        expect(in[static_cast<std::size_t>(peer)] == patterned(peer, me, salt, bytes_of(peer, me)),
               "rank " + std::to_string(me) + " got other bytes than rank " + std::to_string(peer) + " sent");
    }
}

/// Messages of every pair, of sizes from none to `largest_bytes`, arrive whole and unmixed.
inline void all_to_all(Communicator& communicator, std::int64_t largest_bytes) {
    for (std::int64_t round = 0; round < 4; ++round) {
        exchange_with_all(communicator, round, [&](std::int64_t from, std::int64_t to) {
            return largest_bytes * ((from * 3 + to * 5 + round) % 4) / 3;
        });
    }
}

/// Several messages between one pair match in the order in which they were given; empty ones take no part.
inline void message_order(Communicator& communicator) {
    const std::int64_t size = communicator.size();
    const std::int64_t next = (communicator.rank() + 1) % size;
    const std::int64_t previous = (communicator.rank() + size - 1) % size;
    Bytes out = patterned(communicator.rank(), next, 0, 300);
    Bytes in(300);
    // Sent as 100 | 0 | 200, received as 0 | 100 | 200.
    const std::vector<Message> sends = {
        {next, out.data(), 100}, {next, nullptr, 0}, {next, out.data() + 100, 200}};
    const std::vector<Message> receives = {
        {previous, nullptr, 0}, {previous, in.data(), 100}, {previous, in.data() + 100, 200}};
    communicator.exchange(sends, receives);
    expect(in == patterned(previous, communicator.rank(), 0, 300), "messages of a pair were mixed up");
}

/// Nobody leaves a barrier before the last rank has come (all ranks read one clock).
inline void barrier(Communicator& communicator) {
    for (std::int64_t late = 0; late < communicator.size(); ++late) {
        if (communicator.rank() == late) std::this_thread::sleep_for(std::chrono::milliseconds(20));
        const std::int64_t came_ns = steady_now_ns();
        communicator.barrier();
        const std::int64_t left_ns = steady_now_ns();
        expect(max_over_ranks(communicator, came_ns) <= left_ns, "a rank left a barrier too early");
    }
}

/// Colors make groups, keys order them, and groups do not hear each other.
inline void split(Communicator& communicator) {
    const std::int64_t me = communicator.rank();
    const std::int64_t size = communicator.size();
    const auto parity = communicator.split(me % 2, -me);  // odd and even ranks, in reversed order
    expect(parity->size() == (size + 1 - me % 2) / 2, "a group has the wrong size");
    expect(parity->rank() == parity->size() - 1 - me / 2, "keys do not order a group");
    exchange_with_all(*parity, me % 2, [](std::int64_t from, std::int64_t to) { return 10 + from + 2 * to; });

    const auto alone = communicator.split(me, 0);
    expect(alone->size() == 1 && alone->rank() == 0, "a color of one's own gives a group of one");
    alone->barrier();
    const auto again = parity->split(0, parity->rank());
    expect(again->size() == parity->size() && again->rank() == parity->rank(), "a group of a group differs");
    again->barrier();
}

/// Several threads of a rank talk at once, each over a duplicate of its own and at its own pace.
inline void lanes(Communicator& communicator, int num_lanes, int num_rounds) {
    std::vector<std::unique_ptr<Communicator>> duplicates;
    for (int lane = 0; lane < num_lanes; ++lane) duplicates.push_back(communicator.duplicate());
    std::vector<std::exception_ptr> failures(static_cast<std::size_t>(num_lanes));
    std::vector<std::thread> threads;
    for (int lane = 0; lane < num_lanes; ++lane) {
        threads.emplace_back([&, lane] {
            const auto at = static_cast<std::size_t>(lane);
            try {
                for (int round = 0; round < num_rounds; ++round) {
                    exchange_with_all(*duplicates[at], lane * 1000 + round,
                                      [&](std::int64_t from, std::int64_t to) {
                                          return (from * 7 + to * 3 + round * 11 + lane) % 50 * 40;
                                      });
                    if (round % 8 == lane % 8) duplicates[at]->barrier();
                }
            } catch (...) {
                failures[at] = std::current_exception();
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    for (const std::exception_ptr& failure : failures) {
        if (failure) std::rethrow_exception(failure);
    }
}

/// The collectives for control, with what each must give.
inline void collectives(Communicator& communicator) {
    const std::int64_t me = communicator.rank();
    const std::int64_t size = communicator.size();

    const Bytes mine = patterned(me, 0, 0, 5);
    const Bytes all = all_gather_bytes(communicator, mine);
    expect(all.size() == static_cast<std::size_t>(5 * size), "all_gather_bytes has the wrong size");
    for (std::int64_t rank = 0; rank < size; ++rank) {
        expect(
            std::equal(all.begin() + 5 * rank, all.begin() + 5 * rank + 5, patterned(rank, 0, 0, 5).begin()),
            "all_gather_bytes is not ordered by rank");
    }
    expect(all_gather_bytes(communicator, {}).empty(), "all_gather_bytes of nothing is nothing");

    for (std::int64_t root = 0; root < size; ++root) {
        const std::vector<Bytes> gathered = gather_bytes(communicator, root, patterned(me, root, 1, 9 * me));
        expect(gathered.size() == static_cast<std::size_t>(me == root ? size : 0),
               "gather_bytes: wrong count");
        for (std::int64_t rank = 0; me == root && rank < size; ++rank) {
            expect(gathered[static_cast<std::size_t>(rank)] == patterned(rank, root, 1, 9 * rank),
                   "gather_bytes");
        }
        expect(broadcast_bytes(communicator, root, patterned(me, 0, 2, 100 + me)) ==
                   patterned(root, 0, 2, 100 + root),
               "broadcast_bytes");
        expect(broadcast_string(communicator, root, std::string(static_cast<std::size_t>(me), 'x')) ==
                   std::string(static_cast<std::size_t>(root), 'x'),
               "broadcast_string");
    }

    const std::vector<std::string> names =
        all_gather_strings(communicator, "rank" + std::string(static_cast<std::size_t>(me), '+'));
    for (std::int64_t rank = 0; rank < size; ++rank) {
        expect(names[static_cast<std::size_t>(rank)] ==
                   "rank" + std::string(static_cast<std::size_t>(rank), '+'),
               "all_gather_strings");
    }

    expect(max_over_ranks(communicator, static_cast<double>(me) - 10.5) == static_cast<double>(size) - 11.5,
           "max_over_ranks of doubles");
    expect(max_over_ranks(communicator, -me) == 0, "max_over_ranks of integers");
    const double one_nan = me == size - 1 ? std::numeric_limits<double>::quiet_NaN() : 1.0;
    expect(std::isnan(max_over_ranks(communicator, one_nan)), "max_over_ranks hides NaN");

    expect(all_equal(communicator, patterned(0, 0, 3, 64)), "all_equal of equal bytes");
    Bytes differs = patterned(0, 0, 3, 64);
    if (me == size - 1 && size > 1) differs.back() ^= std::byte{1};
    expect(all_equal(communicator, differs) == (size == 1), "all_equal does not see one different bit");
    expect(all_equal(communicator, patterned(0, 0, 3, me == size - 1 && size > 1 ? 63 : 64)) == (size == 1),
           "all_equal does not see a shorter one");
}

}  // namespace eps::comm::checks
