// Room in GPU memory for the work buffers of a group of cases, planned before any row is routed: what
// lowering with expected counts needs, and for routed rows a margin over it.
#pragma once

#include "backend/backend.hpp"
#include "backend/cuda/memory.hpp"
#include "plan/plan.hpp"

#include <cstdint>
#include <map>
#include <string>

namespace eps::backend::cuda {

/// Work buffers of equal name, dtype and width are one room for all cases.
std::string room_name(const plan::Buffer& buffer);

struct Room {
    std::int64_t rows = 0;
    std::int64_t offset = 0;
    std::int64_t row_bytes = 0;
};

class Rooms {
  public:
    /// Rows that depend on the gates get `load_margin` x those expected and kSpareRows, at most as many as
    /// could ever come. Buffers that only segments of one kind use, on the compute lane, lie over those of
    /// other kinds.
    Rooms(const Cases& cases, double load_margin);
    static constexpr std::int64_t kSpareRows = 1024;

    std::int64_t bytes() const { return layout_.bytes(); }
    /// Error internal: none of the cases has such a buffer.
    const Room& of(const plan::Buffer& buffer) const;

  private:
    std::map<std::string, Room> rooms_;
    Layout layout_;
};

}  // namespace eps::backend::cuda
