// A rank with a GPU to stop: test_stop.py runs `mpirun -n N test_comm_cuda "[.stop-probe]"` and kills or
// hangs ranks.
#include "base/error.hpp"
#include "comm/cuda/lane_progress.hpp"
#include "comm/cuda/windows.hpp"
#include "comm/host_processes.hpp"
#include "comm/watchdog.hpp"
#include "tests/catch.hpp"
#include "tests/comm/cuda/device_memory.hpp"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>

#include <unistd.h>

namespace eps::comm::cuda {
namespace {

// The environment says what happens: EPS_PROBE_HANG=RANK, EPS_PROBE_SHORT=RANK, EPS_PROBE_TIMEOUT_S=SECONDS,
// EPS_PROBE_TRANSPORT=nccl.
std::string setting(const char* name, const char* otherwise) {
    const char* value = std::getenv(name);
    return value != nullptr ? value : otherwise;
}

void never_return(void*) {
    for (;;) std::this_thread::sleep_for(std::chrono::seconds(1));
}

struct Lane {
    Lane() { require(cudaEventCreateWithFlags(&done, cudaEventDisableTiming)); }
    Stream stream;
    cudaEvent_t done = nullptr;
};

TEST_CASE("probe: ranks exchange device memory until somebody stops them", "[.stop-probe]") {
    block_stop_signals();
    MpiWorld world;
    take_device(world);
    Communicator& all = world.communicator();
    ProgressBoard board;
    WatchdogOptions options;
    options.rank = all.rank();
    options.host = world.hosts()[at(all.rank())];
    options.op_timeout_s = std::stod(setting("EPS_PROBE_TIMEOUT_S", "100"));
    const HostProcesses processes(all);
    options.ended_rank = [&] { return processes.ended(); };
    options.abort_run = [&](int status) { all.abort(status); };
    const Watchdog watchdog(board, options);

    constexpr std::int64_t kBytes = 100'000;
    const DeviceMemory memory(2 * kBytes * all.size());
    Windows windows(all);
    windows.add(memory.data(), memory.bytes());
    const bool by_nccl = setting("EPS_PROBE_TRANSPORT", "copy_engine") == "nccl";
    const auto exchange = by_nccl ? nccl_exchange(all, 0) : copy_engine_exchange(all, windows);
    LaneProgress progress(&board);
    exchange->while_waiting([&] { progress.look(); });
    Lane compute, dispatch;
    const std::string me = std::to_string(all.rank());
    const bool hangs = setting("EPS_PROBE_HANG", "-1") == me;
    const bool sends_less = setting("EPS_PROBE_SHORT", "-1") == me;
    board.set_case("ep");
    board.set_phase("measure");
    std::fprintf(stderr, "ready %s %d\n", me.c_str(), getpid());
    try {
        for (std::int64_t round = 0;; ++round) {
            progress.begin(0, "compute", "expert_gemm", 2 * round, Waits::for_nobody);
            if (hangs && round == 100) require(cudaLaunchHostFunc(compute.stream, never_return, nullptr));
            require(cudaEventRecord(compute.done, compute.stream));
            progress.enqueued(0, compute.done);

            progress.begin(1, "dispatch", "all_to_all", 2 * round + 1, Waits::for_peers);
            require(cudaStreamWaitEvent(dispatch.stream, compute.done, 0));
            std::vector<Message> sends, receives;
            for (std::int64_t peer = 0; peer < all.size(); ++peer) {
                std::byte* mine = memory.data() + 2 * kBytes * peer;
                sends.push_back({peer, mine, kBytes - (sends_less && peer != all.rank() ? 1 : 0)});
                receives.push_back({peer, mine + kBytes, kBytes});
            }
            exchange->exchange(sends, receives, dispatch.stream);
            require(cudaEventRecord(dispatch.done, dispatch.stream));
            progress.enqueued(1, dispatch.done);
            progress.wait(dispatch.done, [&] { exchange->check(); });
            progress.forget();
        }
    } catch (const Error& error) {
        std::fprintf(stderr, "eps-bench: rank %s: %s; under way: %s\n", me.c_str(), error.what(),
                     progress.under_way().c_str());
        all.abort(static_cast<int>(error.status()));
    }
}

}  // namespace
}  // namespace eps::comm::cuda
