#include "base/error.hpp"
#include "comm/cuda/lane_progress.hpp"
#include "tests/catch.hpp"
#include "tests/comm/cuda/device_memory.hpp"

#include <atomic>
#include <chrono>
#include <thread>

namespace eps::comm::cuda {
namespace {

struct Event {
    cudaEvent_t event = nullptr;
    Event() { require(cudaEventCreateWithFlags(&event, cudaEventDisableTiming)); }
    ~Event() { cudaEventDestroy(event); }
};

void look_again(LaneProgress& progress) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    progress.look();
}

/// Holds a stream until told to go on.
void hold(void* go_on) {
    while (!*static_cast<std::atomic<bool>*>(go_on)) std::this_thread::yield();
}

TEST_CASE("the board shows the op that a stream is at") {
    ProgressBoard board;
    LaneProgress progress(&board);
    const Stream stream;
    std::atomic<bool> go_on = false;
    Event first, second;
    progress.begin(3, "dispatch", "all_to_all", 7, Waits::for_peers);
    CHECK(board.running_op(3)->op_id == 7);  // the host is at it
    require(cudaLaunchHostFunc(stream, hold, &go_on));
    require(cudaEventRecord(first.event, stream));
    progress.enqueued(3, first.event);
    progress.begin(3, "dispatch", "pack_rows", 9, Waits::for_nobody);
    require(cudaEventRecord(second.event, stream));
    progress.enqueued(3, second.event);
    look_again(progress);
    REQUIRE(board.running_op(3));
    CHECK(board.running_op(3)->op_id == 7);
    CHECK(board.running_op(3)->waits == Waits::for_peers);
    CHECK(!board.running_op(0));
    CHECK(progress.under_way() == "op 7 all_to_all on lane dispatch");

    go_on = true;
    progress.wait(first.event);
    look_again(progress);
    progress.wait(second.event);
    look_again(progress);
    CHECK(!board.running_op(3));
    CHECK(progress.under_way() == "no op");
    progress.begin(3, "dispatch", "all_to_all", 11, Waits::for_peers);
    CHECK(board.running_op(3)->op_id == 11);
    progress.forget();
    CHECK(!board.running_op(3));
}

TEST_CASE("who waits for an event stops when its check throws") {
    LaneProgress progress(nullptr);
    const Stream stream;
    const Event event;
    std::atomic<bool> go_on = false;
    require(cudaLaunchHostFunc(stream, hold, &go_on));
    require(cudaEventRecord(event.event, stream));
    CHECK_THROWS_AS(progress.wait(event.event, [] { throw Error(Exit::communication, "a peer has gone"); }),
                    Error);
    go_on = true;
    progress.wait(event.event);
}

TEST_CASE("without a board a lane may be waited for all the same") {
    LaneProgress progress(nullptr);
    const Stream stream;
    const Event event;
    progress.begin(0, "compute", "linear", 0, Waits::for_nobody);
    require(cudaEventRecord(event.event, stream));
    progress.enqueued(0, event.event);
    progress.wait(event.event);
    CHECK(cudaEventQuery(event.event) == cudaSuccess);
}

}  // namespace
}  // namespace eps::comm::cuda
