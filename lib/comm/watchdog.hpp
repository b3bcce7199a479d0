// No rank hangs and none dies silently: a thread that ends the run on SIGTERM, SIGINT, mpirun's notice, or an
// op that makes no progress. How mpirun ends ranks, because it was told to or because one has died: SIGCONT
// to all, one second later SIGTERM, and SIGKILL after another second or as soon as the first rank has gone.
// So SIGCONT is the notice to act upon.
#pragma once

#include "comm/progress.hpp"

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <thread>

namespace eps::comm {

/// Blocks the signals that the watchdog waits for (SIGTERM, SIGINT, SIGCONT) in this thread and those it
/// starts later. The first thing in main, before any thread is made (MPI makes some).
void block_stop_signals();

struct WatchdogOptions {
    std::int64_t rank = 0;
    std::string host;
    double op_timeout_s = 120;

    /// Called once, by the watchdog's thread, after its line was printed and before the process ends: keeps
    /// what is finished (rank 0 rewrites its report). `reason` is that line. Quick: SIGKILL may follow within
    /// a second.
    std::function<void(std::string_view reason)> before_end;

    /// A rank whose process has ended (HostProcesses); may be empty.
    std::function<std::optional<std::int64_t>()> ended_rank;

    /// Ends all ranks with this status; the world communicator's abort. Called when a rank has ended, or
    /// an op makes no progress.
    std::function<void(int status)> abort_run;
};

/// Watches `board` while it lives. Prints one line to stderr, then
/// - SIGTERM, SIGINT: before_end and _exit(128 + signal);
/// - SIGCONT from the parent process, unless this process was suspended: before_end, waits for SIGTERM,
///   _exit(143);
/// - a rank that ended three seconds ago, whatever the phase: before_end and abort_run(6). mpirun notices
///   sooner, unless it is gone or stuck itself;
/// - an op, or a stretch without an op, of more than `op_timeout_s` in a phase of limited patience:
///   before_end and abort_run(6). Ranks that only wait for others speak 2 s later than one that hangs by
///   itself, so that the culprit is named; a process that was suspended for a while is not blamed.
class Watchdog {
  public:
    /// `board` and what the options refer to outlive it. Needs block_stop_signals().
    Watchdog(const ProgressBoard& board, WatchdogOptions options);
    ~Watchdog();
    Watchdog(const Watchdog&) = delete;
    Watchdog& operator=(const Watchdog&) = delete;

  private:
    void watch();
    [[noreturn]] void end_by_signal(int signal);
    [[noreturn]] void end_by_mpirun();
    std::string state() const;
    void notice_suspension();
    void check_ranks();
    void check_progress();
    void end_without_progress(const std::string& what, double waited_s, Waits waits);
    void say(const std::string& line);

    const ProgressBoard& board_;
    const WatchdogOptions options_;
    std::int64_t not_before_ns_ = 0;  // start of the time that counts against ops
    std::int64_t last_look_ns_ = 0;
    std::int64_t missed_since_ns_ = 0;  // when a rank was first seen to have ended; 0: none
    std::atomic<bool> stop_ = false;
    std::thread thread_;
};

}  // namespace eps::comm
