#include "base/error.hpp"
#include "comm/progress.hpp"
#include "tests/catch.hpp"

#include <atomic>
#include <string>
#include <thread>

namespace eps::comm {
namespace {

TEST_CASE("the board shows phase, case and the op of each lane") {
    ProgressBoard board;
    CHECK(board.phase().patience == Patience::unlimited);  // nobody is blamed before the first phase
    board.set_case("ep");
    board.set_phase("measure");
    CHECK(std::string(board.phase().name) == "measure");
    CHECK(board.phase().case_name == "ep");
    CHECK(board.phase().patience == Patience::limited);
    CHECK(board.last_change_ns() == board.phase().begin_ns);
    CHECK(!board.running_op(3));

    board.begin_op(3, board.kept(std::string("dispatch")), "all_to_all", 17, Waits::for_peers);
    const auto op = board.running_op(3);
    REQUIRE(op);
    CHECK(std::string(op->lane_name) == "dispatch");
    CHECK(std::string(op->kind) == "all_to_all");
    CHECK(op->op_id == 17);
    CHECK(op->waits == Waits::for_peers);
    CHECK(op->begin_ns == board.last_change_ns());
    CHECK(!board.running_op(2));

    board.end_op(3);
    CHECK(!board.running_op(3));
    CHECK(board.last_change_ns() >= op->begin_ns);
    CHECK_THROWS_AS(board.begin_op(ProgressBoard::kMaxLanes, "", "", 0, Waits::for_nobody), Error);
}

TEST_CASE("an op in progress leaves the board with its scope, and needs no board") {
    ProgressBoard board;
    {
        const OpInProgress op(&board, 0, "compute", "linear", 4, Waits::for_nobody);
        CHECK(board.running_op(0).has_value());
        const OpInProgress unseen(nullptr, 0, "compute", "linear", 4, Waits::for_nobody);
    }
    CHECK(!board.running_op(0));
}

TEST_CASE("a reader never sees a mix of two ops") {
    ProgressBoard board;
    std::atomic<bool> stop = false;
    std::thread writer([&] {
        const char* const names[] = {"zero", "one", "two"};
        for (std::int64_t i = 0; !stop; ++i) {
            board.begin_op(0, names[i % 3], names[i % 3], i,
                           i % 3 == 0 ? Waits::for_peers : Waits::for_nobody);
            board.end_op(0);
        }
    });
    int seen = 0;
    int mixed = 0;
    while (seen < 2000) {
        const auto op = board.running_op(0);
        if (!op) continue;
        ++seen;
        mixed += op->kind != op->lane_name || (op->op_id % 3 == 0) != (op->waits == Waits::for_peers);
        mixed += std::string(op->kind) != (op->op_id % 3 == 0 ? "zero" : op->op_id % 3 == 1 ? "one" : "two");
    }
    stop = true;
    writer.join();
    CHECK(mixed == 0);
}

}  // namespace
}  // namespace eps::comm
