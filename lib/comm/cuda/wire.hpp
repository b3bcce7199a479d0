// The emulated wire of comm/wire.hpp for device memory: the same rule, kept by kernels of one thread on the
// exchange lanes, which sleep until a message would have come.
#pragma once

#include "base/link.hpp"
#include "comm/communicator.hpp"
#include "comm/cuda/device_exchange.hpp"

#include <cstdint>
#include <memory>
#include <optional>

namespace eps::comm::cuda {

struct WireState;

/// One per rank, on its device; lanes use it at once. GPUs of a host keep their own time, so each learns how
/// far it is from the host's.
class DeviceWire {
  public:
    DeviceWire();
    ~DeviceWire();
    DeviceWire(const DeviceWire&) = delete;
    DeviceWire& operator=(const DeviceWire&) = delete;

    /// From now on messages travel over such a link, or, without one, as fast as they can. The same on all
    /// ranks, while this rank exchanges nothing.
    void use(const std::optional<Link>& link);
    const std::optional<Link>& link() const { return link_; }

    /// Sets the device's clock by the host's, to about a microsecond, if that was 50 ms ago: clocks drift
    /// apart by some 10 us in a second, and setting them takes a rest of the GPU. Before every pass, outside
    /// of what is timed. Takes no time without a link.
    void set_clock();

    WireState* state() const { return state_; }

  private:
    struct Clock;
    std::optional<Link> link_;
    std::int64_t set_ns_ = 0;     // when the clock was set; 0: not since the link is in use
    WireState* state_ = nullptr;  // on the device
    Clock* clock_ = nullptr;      // read and written by host and device
    CUstream_st* stream_ = nullptr;
};

/// `inner` over `wire`, which outlives it. `windows` where `inner` uses them, otherwise null. At most 256
/// messages of an exchange in each direction. Collective over `group`.
std::unique_ptr<DeviceExchange> over_wire(std::unique_ptr<DeviceExchange> inner, DeviceWire& wire,
                                          Communicator& group, Windows* windows);

}  // namespace eps::comm::cuda
