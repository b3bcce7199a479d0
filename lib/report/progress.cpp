#include "report/progress.hpp"

#include <array>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <string_view>
#include <utility>

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace eps::report {
namespace {

constexpr auto kRedrawAfter = std::chrono::milliseconds(100);
constexpr const char* kErase = "\r\x1b[K";

std::string duration_text(double seconds) {
    const auto whole = static_cast<std::int64_t>(std::ceil(seconds));
    if (whole < 100) return fmt::format("{} s", whole);
    if (whole < 6000) return fmt::format("{} min", (whole + 59) / 60);
    return fmt::format("{:.1f} h", seconds / 3600);
}

std::size_t terminal_width() {
    winsize size{};
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
    const int terminal =
        open("/dev/tty", O_RDONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);  // stderr is mpirun's pipe
    const bool known = terminal >= 0 && ioctl(terminal, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
    if (terminal >= 0) close(terminal);
    return known ? size.ws_col : 80;
}

bool opens_as_terminal(const std::string& path) {
    const int descriptor = open(path.c_str(), O_WRONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (descriptor < 0) return false;
    const bool is_terminal = isatty(descriptor) == 1;
    close(descriptor);
    return is_terminal;
}

// mpirun gives its processes a pipe for stderr and copies it to its own: then the parent's stderr decides.
bool launcher_shows_on_terminal() {
    struct stat status {};
    if (fstat(STDERR_FILENO, &status) != 0 || !(S_ISFIFO(status.st_mode) || S_ISSOCK(status.st_mode)))
        return false;
    const std::string parent = fmt::format("/proc/{}/", getppid());
    std::string command;
    std::getline(std::ifstream(parent + "comm") >> std::ws, command);
    for (const std::string_view launcher : {"mpirun", "mpiexec", "orterun", "prterun", "prun"})
        if (command.starts_with(launcher)) return opens_as_terminal(parent + "fd/2");
    return false;
}

}  // namespace

std::string progress_text(const ProgressState& state, std::size_t width) {
    std::string text =
        fmt::format("[{}/{}] {}: {}", state.case_idx + 1, state.num_cases, state.case_name, state.phase);
    if (state.max_passes > 0) text += fmt::format(", pass {}/{}", state.num_passes, state.max_passes);
    if (state.eta_seconds && std::isfinite(*state.eta_seconds) && *state.eta_seconds >= 0)
        text += fmt::format(", about {} left", duration_text(*state.eta_seconds));
    if (text.size() > width) text.resize(width);
    return text;
}

bool stderr_is_terminal() {
    const char* term = std::getenv("TERM");
    if (term == nullptr || std::string_view(term) == "dumb") return false;  // cannot erase a line
    return isatty(STDERR_FILENO) == 1 || launcher_shows_on_terminal();
}

Progress::Progress(bool enabled)
    : Progress(enabled, [](const std::string& bytes) {
          // Unbuffered, and a line that could not be drawn is no reason to stop a run.
          [[maybe_unused]] const auto written = ::write(STDERR_FILENO, bytes.data(), bytes.size());
      }) {}

Progress::Progress(bool enabled, std::function<void(const std::string&)> draw)
    : enabled_(enabled), draw_(std::move(draw)) {}

Progress::~Progress() {
    clear();
}

void Progress::show(const ProgressState& state) {
    if (!enabled_) return;
    const auto now = std::chrono::steady_clock::now();
    const std::string phase = fmt::format("{} {}", state.case_idx, state.phase);
    if (visible_ && phase == phase_ && now - drawn_ < kRedrawAfter) return;
    draw_(kErase + progress_text(state, terminal_width() - 1));
    visible_ = true;
    phase_ = phase;
    drawn_ = now;
}

void Progress::clear() {
    if (visible_) draw_(kErase);
    visible_ = false;
}

}  // namespace eps::report
