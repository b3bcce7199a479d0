// The line that says what a long run is doing, on a terminal only.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace eps::report {

struct ProgressState {
    std::int64_t case_idx = 0;  // from 0
    std::int64_t num_cases = 0;
    std::string case_name;
    std::string phase;            // "weights", "validation", "warm-up", "measuring", "tracing"
    std::int64_t num_passes = 0;  // done in this phase; not shown where max_passes is 0
    std::int64_t max_passes = 0;
    std::optional<double> eta_seconds;  // until the run ends

    friend bool operator==(const ProgressState&, const ProgressState&) = default;
};

/// "[2/9] eps chunks=4: measuring, pass 7/100, about 12 s left", cut to `width` characters.
std::string progress_text(const ProgressState& state, std::size_t width);

/// True if what this process writes to stderr appears on a terminal: stderr is one, or mpirun carries it to
/// one.
bool stderr_is_terminal();

/// Draws the line on stderr, over itself, at most ten times a second; does nothing where `enabled` is false.
/// Erases it when destroyed or cleared, so that other output starts on an empty line.
class Progress {
  public:
    explicit Progress(bool enabled);
    /// With another sink for the drawn bytes (tests).
    Progress(bool enabled, std::function<void(const std::string&)> draw);
    ~Progress();
    Progress(const Progress&) = delete;
    Progress& operator=(const Progress&) = delete;

    void show(const ProgressState& state);
    void clear();

  private:
    bool enabled_;
    std::function<void(const std::string&)> draw_;
    bool visible_ = false;
    std::string phase_;  // of what is on the screen: a new phase or case is drawn at once
    std::chrono::steady_clock::time_point drawn_;
};

}  // namespace eps::report
