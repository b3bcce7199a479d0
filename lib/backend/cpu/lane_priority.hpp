// Who goes first where lanes share a core.
#pragma once

#include <sys/resource.h>
#include <unistd.h>

namespace eps::backend::cpu {

/// The calling thread, and threads it starts, leave the core to exchange lanes whenever these have something
/// to do: an exchange needs it for microseconds, and a peer waits for it. Among other programs the thread
/// counts less too.
inline void give_way_to_exchanges() {
    constexpr int kNicer = 10;
    setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), getpriority(PRIO_PROCESS, 0) + kNicer);
}

}  // namespace eps::backend::cpu
