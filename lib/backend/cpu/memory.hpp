// Host memory that is counted: what a rank holds now, and the most it ever held.
#pragma once

#include "base/error.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <utility>

namespace eps::backend::cpu {

class MemoryCount {
  public:
    void add(std::int64_t bytes) {
        now_ += bytes;
        peak_ = std::max(peak_, now_);
    }
    std::int64_t now() const { return now_; }
    std::int64_t peak() const { return peak_; }

  private:
    std::int64_t now_ = 0;
    std::int64_t peak_ = 0;
};

/// Zeroed, aligned to a cache line, counted. Errors: resource.
class CountedBytes {
  public:
    CountedBytes() = default;
    CountedBytes(MemoryCount& count, std::int64_t size) : count_(&count), size_(size) {
        if (size == 0) return;
        const auto rounded = (static_cast<std::size_t>(size) + 63) / 64 * 64;
        data_ = static_cast<std::byte*>(std::aligned_alloc(64, rounded));
        if (data_ == nullptr) throw Error(Exit::resource, "no memory for " + std::to_string(size) + " bytes");
        std::fill_n(data_, rounded, std::byte{});
        count_->add(size_);
    }
    CountedBytes(CountedBytes&& other) noexcept { swap(other); }
    CountedBytes& operator=(CountedBytes&& other) noexcept {
        swap(other);
        return *this;
    }
    ~CountedBytes() {
        if (data_ == nullptr) return;
        count_->add(-size_);
        std::free(data_);
    }

    std::byte* data() const { return data_; }
    std::int64_t size() const { return size_; }

  private:
    void swap(CountedBytes& other) noexcept {
        std::swap(count_, other.count_);
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
    }

    MemoryCount* count_ = nullptr;
    std::byte* data_ = nullptr;
    std::int64_t size_ = 0;
};

}  // namespace eps::backend::cpu
