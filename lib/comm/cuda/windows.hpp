// Device memory that ranks of one host open to each other by CUDA IPC, so that copy engines can write into
// it.
#pragma once

#include "comm/communicator.hpp"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace eps::comm::cuda {

/// The windows of one rank, and its view of everybody else's. Each rank's current device is that of all its
/// windows. Used by one thread.
class Windows {
  public:
    /// Collective over `world`, which outlives it. Errors: resource (no memory, or no way to another rank's).
    explicit Windows(Communicator& world);
    /// Collective, unless an exception is on its way: then everything is left to the end of the process.
    ~Windows();
    Windows(const Windows&) = delete;
    Windows& operator=(const Windows&) = delete;

    std::int64_t rank() const { return world_.rank(); }

    /// Opens memory from one cudaMalloc, or a part of it, to all ranks; a rank may have nothing to open (0
    /// bytes). Returns the window's number, the same on all ranks. Collective. Errors: resource.
    std::int32_t add(std::byte* data, std::int64_t bytes);

    /// Closes a window, before its memory is freed. No transfer is under way on any rank. Collective, unless
    /// an exception is on its way.
    void remove(std::int32_t window);

    struct Place {
        std::int32_t window = 0;
        std::int64_t offset = 0;
    };
    /// Where [data, data + bytes) of this rank lies. Error internal when that is in no window.
    Place place_of(const std::byte* data, std::int64_t bytes) const;

    /// The address, in this process, of a place in a window of `rank`.
    std::byte* address(std::int64_t rank, Place place) const;

    /// Memory, zero, of a small window that lives as long as this: for what belongs to exchanges. Never given
    /// back. Error internal when it is full.
    std::byte* take(std::int64_t bytes);

  private:
    struct Window {
        std::int64_t bytes = 0;        // own
        std::vector<std::byte*> data;  // per rank, as mapped here; null where a rank opened nothing
        std::vector<void*> mapped;     // per rank, what to close
    };
    void close(Window& window);

    Communicator& world_;
    int exceptions_before_ = 0;
    std::vector<Window> windows_;  // by number; removed ones are empty
    std::byte* small_ = nullptr;   // window 0
    std::int64_t taken_ = 0;
};

}  // namespace eps::comm::cuda
