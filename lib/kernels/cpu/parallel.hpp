// How fast kernels use their compute threads: teams over blocks of rows, or over tasks in dynamic order.
// Small work stays on the calling thread: starting a team costs microseconds, and tiny ops come by the
// thousand.
#pragma once

#include "base/range.hpp"

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace eps::kernels {

/// Calls body(argument, thread_idx) on `num_threads` threads, the caller among them; the first exception is
/// rethrown.
void run_team(int num_threads, void (*body)(void*, int), void* argument);

/// f(thread_idx) on each of `num_threads` threads; on the caller alone for 1.
template <typename F>
void on_team(int num_threads, F&& f) {
    if (num_threads <= 1) {
        f(0);
        return;
    }
    run_team(
        num_threads,
        [](void* g, int thread_idx) { (*static_cast<std::remove_reference_t<F>*>(g))(thread_idx); },
        static_cast<void*>(&f));
}

inline int team_size(int threads, std::int64_t num_parts, std::int64_t work,
                     std::int64_t work_worth_a_thread) {
    const std::int64_t useful = std::min(num_parts, work / work_worth_a_thread);
    return static_cast<int>(std::clamp<std::int64_t>(useful, 1, std::max(threads, 1)));
}

/// f(begin, end) for blocks of rows, each thread one block. A row may cost `bytes_per_row` of memory traffic.
template <typename F>
void for_row_blocks(std::int64_t num_rows, std::int64_t bytes_per_row, int threads, F&& f) {
    if (num_rows <= 0) return;
    constexpr std::int64_t kBytesWorthAThread = 64 << 10;
    const int team = team_size(threads, num_rows, num_rows * bytes_per_row, kBytesWorthAThread);
    on_team(team, [&](int thread_idx) {
        const Range rows = part_of(num_rows, team, thread_idx);
        if (!rows.empty()) f(rows.begin, rows.end);
    });
}

/// f(task_idx) for every task, in ascending order of start, whoever is free takes the next.
template <typename F>
void for_tasks(std::int64_t num_tasks, int num_threads, F&& f) {
    std::atomic<std::int64_t> next{0};
    on_team(num_threads, [&](int) {
        for (std::int64_t task = next++; task < num_tasks; task = next++) f(task);
    });
}

}  // namespace eps::kernels
