// A rank to stop: test_stop.py runs `mpirun -n N test_comm "[.stop-probe]"` and kills, hangs or suspends
// ranks.
#include "comm/collectives.hpp"
#include "comm/host_processes.hpp"
#include "comm/mpi.hpp"
#include "comm/watchdog.hpp"
#include "tests/catch.hpp"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>

#include <unistd.h>

namespace eps::comm {
namespace {

// The environment says what happens: EPS_PROBE_HANG=RANK, EPS_PROBE_TIMEOUT_S=SECONDS, EPS_PROBE_KEEP=FILE.
std::string setting(const char* name, const char* otherwise) {
    const char* value = std::getenv(name);
    return value != nullptr ? value : otherwise;
}

TEST_CASE("probe: ranks exchange until somebody stops them", "[.stop-probe]") {
    block_stop_signals();
    MpiWorld world;
    Communicator& all = world.communicator();
    ProgressBoard board;
    WatchdogOptions options;
    options.rank = all.rank();
    options.host = world.hosts()[static_cast<std::size_t>(all.rank())];
    options.op_timeout_s = std::stod(setting("EPS_PROBE_TIMEOUT_S", "100"));
    const HostProcesses processes(all);
    options.ended_rank = [&] { return processes.ended(); };
    options.abort_run = [&](int status) { all.abort(status); };
    options.before_end = [&](std::string_view reason) {
        if (all.rank() != 0) return;
        std::FILE* file = std::fopen(setting("EPS_PROBE_KEEP", "/dev/null").c_str(), "w");
        std::fwrite(reason.data(), 1, reason.size(), file);
        std::fclose(file);
    };
    const Watchdog watchdog(board, options);
    board.set_case("ep");
    board.set_phase("measure");
    std::fprintf(stderr, "ready %ld %d\n", static_cast<long>(all.rank()), getpid());

    const bool hangs = setting("EPS_PROBE_HANG", "-1") == std::to_string(all.rank());
    Bytes out(100'000 * static_cast<std::size_t>(all.size()));
    Bytes in(out.size());
    for (std::int64_t round = 0;; ++round) {
        {
            const OpInProgress op(&board, 0, "compute", "expert_gemm", 2 * round, Waits::for_nobody);
            std::this_thread::sleep_for(std::chrono::milliseconds(20));
            while (hangs && round == 10) std::this_thread::sleep_for(std::chrono::seconds(1));
        }
        std::vector<Message> sends;
        std::vector<Message> receives;
        for (std::int64_t peer = 0; peer < all.size(); ++peer) {
            sends.push_back({peer, out.data() + 100'000 * peer, 100'000});
            receives.push_back({peer, in.data() + 100'000 * peer, 100'000});
        }
        const OpInProgress op(&board, 1, "dispatch", "all_to_all", 2 * round + 1, Waits::for_peers);
        all.exchange(sends, receives);
    }
}

}  // namespace
}  // namespace eps::comm
