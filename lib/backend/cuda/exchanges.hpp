// The exchanges of a rank's lanes: a group of ranks and a transport each.
#pragma once

#include "backend/backend.hpp"
#include "backend/cuda/run_op.hpp"
#include "comm/cuda/windows.hpp"
#include "comm/cuda/wire.hpp"
#include "placement/placement.hpp"

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace eps::backend::cuda {

/// How a case's exchanges travel.
struct Transport {
    schedule::Transport kind = schedule::Transport::copy_engine;  // not automatic
    int num_ctas = 0;                                             // of nccl; 0: its own choice
    friend auto operator<=>(const Transport&, const Transport&) = default;
};

/// `one_host`: whether all ranks are on one; `shared`: whether ranks share GPUs. Copy engines wherever they
/// reach.
Transport transport_of(const schedule::Schedule& schedule, bool one_host);

class Exchanges {
  public:
    /// Exchanges of every transport that the cases name, over `wire`. `memory`: where messages lie.
    /// Collective.
    Exchanges(comm::Communicator& world, const placement::Placement& placement,
              const std::vector<Transport>& transports, comm::cuda::DeviceWire& wire, std::byte* memory,
              std::int64_t bytes, const std::function<void()>& while_waiting);
    /// Collective.
    ~Exchanges();

    /// Gives the lanes of a case their exchanges.
    void give(const schedule::Lanes& lanes, const Transport& transport, std::vector<LanePlace>& places);

    /// Throws what went wrong in any of them. Never waits.
    void check();

  private:
    using OfLanes = std::array<std::unique_ptr<comm::cuda::DeviceExchange>, kNumExchangeLanes>;

    std::unique_ptr<comm::Communicator> world_;
    LaneGroups groups_;
    std::unique_ptr<comm::cuda::Windows> windows_;  // null: no copy engines
    std::int32_t window_ = 0;
    std::map<Transport, OfLanes> by_transport_;
};

}  // namespace eps::backend::cuda
