// The processes of the other ranks on this host, for whoever must not wait for one that has ended.
#pragma once

#include "comm/communicator.hpp"

#include <cstdint>
#include <optional>
#include <vector>

namespace eps::comm {

class HostProcesses {
  public:
    /// Finds those that this process can see. Collective. Where the kernel gives no handles of processes none
    /// is watched.
    explicit HostProcesses(Communicator& world);
    ~HostProcesses();
    HostProcesses(const HostProcesses&) = delete;
    HostProcesses& operator=(const HostProcesses&) = delete;

    /// A rank whose process has ended, collected by its parent or not. Never waits. Any thread.
    std::optional<std::int64_t> ended() const;

  private:
    struct Process {
        std::int64_t rank = 0;
        int handle = -1;  // a pidfd
    };
    std::vector<Process> others_;
};

}  // namespace eps::comm
