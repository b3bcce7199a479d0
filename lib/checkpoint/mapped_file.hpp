// A file seen as memory: only what is touched is read from disk.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace eps::checkpoint {

/// Read-only mapping of a whole regular file of any size. Throws Error(data) naming the path.
class MappedFile {
  public:
    explicit MappedFile(const std::string& path);
    ~MappedFile();
    MappedFile(const MappedFile&) = delete;
    MappedFile& operator=(const MappedFile&) = delete;

    const std::byte* data() const { return data_; }
    std::int64_t size() const { return size_; }

    /// Asks the system to read [offset, offset + bytes) ahead.
    void will_need(std::int64_t offset, std::int64_t bytes) const;

  private:
    const std::byte* data_ = nullptr;
    std::int64_t size_ = 0;
};

}  // namespace eps::checkpoint
