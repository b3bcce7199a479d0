// Each test forks a process with a watchdog, and looks at its end: status, the line it wrote, what it kept.
#include "comm/watchdog.hpp"
#include "tests/catch.hpp"

#include <chrono>
#include <functional>
#include <stdexcept>
#include <string>
#include <thread>

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

namespace eps::comm {
namespace {

struct End {
    int status = 0;  // exit status, or 128 + signal
    std::string text;
    double seconds = 0;
};

void sleep_s(double seconds) {
    std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
}

WatchdogOptions options(double op_timeout_s) {
    WatchdogOptions o;
    o.rank = 2;
    o.host = "box";
    o.op_timeout_s = op_timeout_s;
    o.before_end = [](std::string_view) {
        [[maybe_unused]] const auto n = ::write(STDERR_FILENO, "kept\n", 5);
    };
    o.abort_run = [](int status) { _exit(status); };
    return o;
}

/// Runs `body` in a process of its own with a watchdog's signals blocked; `parent` acts on it once it says
/// "ready".
End run_process(
    const std::function<void()>& body, const std::function<void(pid_t)>& parent = [](pid_t) {}) {
    int ends[2];
    REQUIRE(pipe(ends) == 0);
    const pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        block_stop_signals();
        body();
        _exit(0);
    }
    close(ends[1]);
    const std::int64_t begin_ns = steady_now_ns();
    End end;
    char byte = 0;
    bool acted = false;
    while (::read(ends[0], &byte, 1) == 1) {
        end.text += byte;
        if (!acted && end.text == "ready\n") {
            acted = true;
            end.text.clear();
            parent(child);
        }
    }
    close(ends[0]);
    int status = 0;
    REQUIRE(waitpid(child, &status, 0) == child);
    end.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    end.seconds = static_cast<double>(steady_now_ns() - begin_ns) * 1e-9;
    return end;
}

void say_ready() {
    [[maybe_unused]] const auto n = ::write(STDERR_FILENO, "ready\n", 6);
}

TEST_CASE("SIGTERM ends the process with one line that names phase and op, and keeps what is finished") {
    const End end = run_process(
        [] {
            ProgressBoard board;
            const Watchdog watchdog(board, options(100));
            board.set_case("eps n=4");
            board.set_phase("measure");
            const OpInProgress compute(&board, 0, "compute", "expert_gemm", 12, Waits::for_nobody);
            const OpInProgress exchange(&board, 1, "dispatch", "all_to_all", 17, Waits::for_peers);
            say_ready();
            sleep_s(60);
        },
        [](pid_t child) { kill(child, SIGTERM); });
    CHECK(end.status == 128 + SIGTERM);
    CHECK_THAT(
        end.text,
        contains_text("eps-bench: rank 2 (box) stopped by SIGTERM in phase measure of case eps n=4, "
                      "op 12 expert_gemm on lane compute and op 17 all_to_all on lane dispatch, after"));
    CHECK_THAT(end.text, contains_text("s\nkept\n"));
    CHECK(end.seconds < 30);
}

TEST_CASE("SIGINT is named") {
    const End end = run_process(
        [] {
            ProgressBoard board;
            const Watchdog watchdog(board, options(100));
            board.set_phase("load weights", Patience::unlimited);
            say_ready();
            sleep_s(60);
        },
        [](pid_t child) { kill(child, SIGINT); });
    CHECK(end.status == 128 + SIGINT);
    CHECK_THAT(end.text, contains_text("stopped by SIGINT in phase load weights, no op, after"));
}

TEST_CASE("mpirun's notice is acted upon at once, and the end waits for its signal") {
    const End end = run_process(
        [] {
            ProgressBoard board;
            const Watchdog watchdog(board, options(100));
            board.set_phase("measure");
            const OpInProgress exchange(&board, 1, "dispatch", "all_to_all", 17, Waits::for_peers);
            say_ready();
            sleep_s(60);
        },
        [](pid_t child) {
            kill(child, SIGCONT);  // this test is the parent, as mpirun is
            sleep_s(0.5);
            CHECK(waitpid(child, nullptr, WNOHANG) == 0);
            kill(child, SIGTERM);
        });
    CHECK(end.status == 128 + SIGTERM);
    CHECK_THAT(
        end.text,
        contains_text("eps-bench: rank 2 (box) stopped by mpirun, which was told to or has lost a rank, "
                      "in phase measure, op 17 all_to_all on lane dispatch, after"));
    CHECK_THAT(end.text, contains_text("s\nkept\n"));
    CHECK(end.text.find("SIGTERM") == std::string::npos);
}

TEST_CASE("what fails while keeping is said, and the process ends all the same") {
    const End end = run_process(
        [] {
            ProgressBoard board;
            WatchdogOptions failing = options(100);
            failing.before_end = [](std::string_view) { throw std::runtime_error("disk full"); };
            const Watchdog watchdog(board, failing);
            say_ready();
            sleep_s(60);
        },
        [](pid_t child) { kill(child, SIGTERM); });
    CHECK(end.status == 128 + SIGTERM);
    CHECK_THAT(end.text, contains_text("rank 2: cannot keep what is finished: disk full"));
}

TEST_CASE("an op without progress ends the run with status 6") {
    const End end = run_process([] {
        ProgressBoard board;
        const Watchdog watchdog(board, options(0.3));
        board.set_phase("warm-up");
        const OpInProgress op(&board, 0, "compute", "expert_gemm", 12, Waits::for_nobody);
        sleep_s(60);
    });
    CHECK(end.status == 6);
    CHECK_THAT(end.text, contains_text("eps-bench: rank 2 (box): no progress for"));
    CHECK_THAT(end.text,
               contains_text("in phase warm-up, op 12 expert_gemm on lane compute; a longer --op-timeout"));
    CHECK_THAT(end.text, contains_text("\nkept\n"));
    CHECK(end.seconds < 30);
}

TEST_CASE("so does a stretch without any op") {
    const End end = run_process([] {
        ProgressBoard board;
        const Watchdog watchdog(board, options(0.3));
        board.set_phase("warm-up");
        sleep_s(60);
    });
    CHECK(end.status == 6);
    CHECK_THAT(end.text, contains_text("in phase warm-up, between ops"));
}

TEST_CASE("who waits for peers speaks later than who hangs") {
    const End end = run_process([] {
        ProgressBoard board;
        const Watchdog watchdog(board, options(0.3));
        board.set_phase("warm-up");
        const OpInProgress op(&board, 1, "dispatch", "all_to_all", 17, Waits::for_peers);
        sleep_s(60);
    });
    CHECK(end.status == 6);
    CHECK(end.seconds > 2.2);
    CHECK_THAT(end.text, contains_text("op 17 all_to_all on lane dispatch, waiting for other ranks"));
}

TEST_CASE("short ops, and phases without a limit, go on for any time") {
    const End end = run_process([] {
        ProgressBoard board;
        const Watchdog watchdog(board, options(2));
        board.set_phase("measure");
        for (int i = 0; i < 60; ++i) {
            const OpInProgress op(&board, 0, "compute", "linear", i, Waits::for_nobody);
            sleep_s(0.05);
        }
        board.set_phase("reference", Patience::unlimited);
        const OpInProgress op(&board, 0, "compute", "linear", 1, Waits::for_nobody);
        sleep_s(4);
        board.set_phase("measure");  // the time before does not count against the op under way
        sleep_s(0.2);
    });
    CHECK(end.status == 0);
    CHECK(end.text.empty());
}

TEST_CASE("a process that was suspended is not blamed for it") {
    const End end = run_process(
        [] {
            ProgressBoard board;
            const Watchdog watchdog(board, options(4));
            board.set_phase("measure");
            const OpInProgress op(&board, 0, "compute", "linear", 1, Waits::for_nobody);
            say_ready();
            sleep_s(1);  // ends at once after the suspension
            sleep_s(1.5);
        },
        [](pid_t child) {
            kill(child, SIGSTOP);
            sleep_s(6);
            kill(child, SIGCONT);
        });
    CHECK(end.status == 0);
    CHECK(end.text.empty());
}

TEST_CASE("a watchdog leaves at once when it is not needed any more") {
    const End end = run_process([] {
        ProgressBoard board;
        for (int i = 0; i < 20; ++i) const Watchdog watchdog(board, options(100));
    });
    CHECK(end.status == 0);
    CHECK(end.text.empty());
    CHECK(end.seconds < 8);
}

}  // namespace
}  // namespace eps::comm
