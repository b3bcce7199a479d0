#include "comm/watchdog.hpp"

#include "base/error.hpp"

#include <algorithm>
#include <exception>
#include <utility>

#include <fmt/core.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

namespace eps::comm {
namespace {

constexpr std::int64_t kNsPerS = 1'000'000'000;
constexpr std::int64_t kLookEveryNs = kNsPerS / 2;
constexpr std::int64_t kGraceOfWaitingNs =
    2 * kNsPerS;  // a rank that hangs by itself speaks before those it holds up
constexpr std::int64_t kMissedNs = 3 * kNsPerS;          // mpirun ends everybody sooner
constexpr std::int64_t kSuspendedNs = 2 * kLookEveryNs;  // between two looks: the process was stopped

sigset_t stop_signals() {
    sigset_t signals;
    sigemptyset(&signals);
    for (const int signal : {SIGTERM, SIGINT, SIGCONT}) sigaddset(&signals, signal);
    return signals;
}

double seconds(std::int64_t ns) {
    return static_cast<double>(ns) / static_cast<double>(kNsPerS);
}

std::string described(const ProgressBoard::RunningOp& op) {
    return op.op_id == ProgressBoard::kNoPlan
               ? op.kind
               : fmt::format("op {} {} on lane {}", op.op_id, op.kind, op.lane_name);
}

std::string described(const ProgressBoard::Phase& phase) {
    return phase.case_name.empty() ? std::string(phase.name)
                                   : fmt::format("{} of case {}", phase.name, phase.case_name);
}

/// Every op under way, the oldest first, and for how long the oldest has run.
std::string described_ops(const ProgressBoard& board, std::int64_t now_ns, double& longest_s) {
    std::vector<ProgressBoard::RunningOp> ops;
    for (std::int64_t lane = 0; lane < ProgressBoard::kMaxLanes; ++lane) {
        if (const auto op = board.running_op(lane)) ops.push_back(*op);
    }
    if (ops.empty()) {
        longest_s = seconds(now_ns - board.last_change_ns());
        return "no op";
    }
    std::ranges::sort(ops, {}, &ProgressBoard::RunningOp::begin_ns);
    longest_s = seconds(now_ns - ops.front().begin_ns);
    std::string text;
    for (const auto& op : ops) text += (text.empty() ? "" : " and ") + described(op);
    return text;
}

}  // namespace

void block_stop_signals() {
    const sigset_t signals = stop_signals();
    if (pthread_sigmask(SIG_BLOCK, &signals, nullptr) != 0)
        throw Error(Exit::internal, "cannot block signals");
}

Watchdog::Watchdog(const ProgressBoard& board, WatchdogOptions options)
    : board_(board),
      options_(std::move(options)),
      last_look_ns_(steady_now_ns()),
      thread_([this] { watch(); }) {}

Watchdog::~Watchdog() {
    stop_.store(true);
    pthread_kill(thread_.native_handle(), SIGCONT);  // wakes it: no half second at the end of every run
    thread_.join();
}

void Watchdog::watch() {
    const sigset_t signals = stop_signals();
    const timespec pause = {0, kLookEveryNs};
    while (!stop_.load()) {
        siginfo_t info = {};
        const int signal = sigtimedwait(&signals, &info, &pause);
        if (signal == SIGTERM || signal == SIGINT) end_by_signal(signal);
        notice_suspension();
        const bool resumed = steady_now_ns() - not_before_ns_ < kSuspendedNs;
        if (signal == SIGCONT && info.si_code == SI_USER && info.si_pid == getppid() && !resumed)
            end_by_mpirun();
        check_ranks();
        check_progress();
    }
}

/// A late look: the process was stopped meanwhile, and the SIGCONT that goes with it may be found a little
/// later.
void Watchdog::notice_suspension() {
    const std::int64_t now_ns = steady_now_ns();
    if (now_ns - last_look_ns_ > kSuspendedNs) not_before_ns_ = now_ns;
    last_look_ns_ = now_ns;
}

/// One write, so that lines of several ranks do not mix.
void Watchdog::say(const std::string& line) {
    const std::string text = line + "\n";
    [[maybe_unused]] const auto written = ::write(STDERR_FILENO, text.data(), text.size());
    try {
        if (options_.before_end) options_.before_end(line);
    } catch (const std::exception& error) {
        const std::string why = fmt::format("eps-bench: rank {}: cannot keep what is finished: {}\n",
                                            options_.rank, error.what());
        [[maybe_unused]] const auto written_too = ::write(STDERR_FILENO, why.data(), why.size());
    }
}

/// "in phase measure of case ep, op 12 linear on lane compute, after 0.3 s"
std::string Watchdog::state() const {
    double longest_s = 0;
    const std::string ops = described_ops(board_, steady_now_ns(), longest_s);
    return fmt::format("in phase {}, {}, after {:.1f} s", described(board_.phase()), ops, longest_s);
}

void Watchdog::end_by_signal(int signal) {
    say(fmt::format("eps-bench: rank {} ({}) stopped by {} {}", options_.rank, options_.host,
                    signal == SIGTERM ? "SIGTERM" : "SIGINT", state()));
    _exit(128 + signal);
}

void Watchdog::end_by_mpirun() {
    say(fmt::format("eps-bench: rank {} ({}) stopped by mpirun, which was told to or has lost a rank, {}",
                    options_.rank, options_.host, state()));
    // The first rank to go makes mpirun kill the others at once: they get their second.
    const sigset_t signals = stop_signals();
    const timespec two_seconds = {2, 0};
    while (sigtimedwait(&signals, nullptr, &two_seconds) == SIGCONT) {
    }
    _exit(128 + SIGTERM);
}

void Watchdog::check_ranks() {
    const auto ended = options_.ended_rank ? options_.ended_rank() : std::nullopt;
    if (!ended) return;
    const std::int64_t now_ns = steady_now_ns();
    if (missed_since_ns_ == 0) missed_since_ns_ = now_ns;
    if (now_ns - std::max(missed_since_ns_, not_before_ns_) < kMissedNs) return;
    say(fmt::format("eps-bench: rank {} ({}): the process of rank {} has ended, {}", options_.rank,
                    options_.host, *ended, state()));
    if (options_.abort_run) options_.abort_run(static_cast<int>(Exit::communication));
    _exit(static_cast<int>(Exit::communication));
}

void Watchdog::check_progress() {
    const std::int64_t now_ns = steady_now_ns();
    if (board_.phase().patience == Patience::unlimited) return;

    const auto limit_ns = static_cast<std::int64_t>(options_.op_timeout_s * static_cast<double>(kNsPerS));
    bool idle = true;
    for (std::int64_t lane = 0; lane < ProgressBoard::kMaxLanes; ++lane) {
        const auto op = board_.running_op(lane);
        if (!op) continue;
        idle = false;
        const std::int64_t waited_ns =
            now_ns - std::max({op->begin_ns, board_.phase().begin_ns, not_before_ns_});
        if (waited_ns > limit_ns + (op->waits == Waits::for_peers ? kGraceOfWaitingNs : 0)) {
            end_without_progress(described(*op), seconds(waited_ns), op->waits);
        }
    }
    const std::int64_t waited_ns = now_ns - std::max(board_.last_change_ns(), not_before_ns_);
    if (idle && waited_ns > limit_ns)
        end_without_progress("between ops", seconds(waited_ns), Waits::for_nobody);
}

void Watchdog::end_without_progress(const std::string& what, double waited_s, Waits waits) {
    say(
        fmt::format("eps-bench: rank {} ({}): no progress for {:.1f} s in phase {}, {}{}; a longer "
                    "--op-timeout (now {:g} s) "
                    "helps if it is only slow",
                    options_.rank, options_.host, waited_s, described(board_.phase()), what,
                    waits == Waits::for_peers ? ", waiting for other ranks" : "", options_.op_timeout_s));
    if (options_.abort_run) options_.abort_run(static_cast<int>(Exit::communication));
    _exit(static_cast<int>(Exit::communication));
}

}  // namespace eps::comm
