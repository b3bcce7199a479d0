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

    go_on = true;
    progress.wait(first.event);
    look_again(progress);
    progress.wait(second.event);
    look_again(progress);
    CHECK(!board.running_op(3));
    progress.begin(3, "dispatch", "all_to_all", 11, Waits::for_peers);
    CHECK(board.running_op(3)->op_id == 11);
    progress.forget();
    CHECK(!board.running_op(3));
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
