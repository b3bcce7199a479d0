// Room that a thread keeps for its kernels from call to call: grows, never shrinks, contents do not survive
// growth.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

namespace eps::kernels {

class AlignedBuffer {
  public:
    /// At least `count` elements, aligned to a cache line; not initialised.
    template <typename T>
    T* room_for(std::int64_t count) {
        const auto bytes = static_cast<std::size_t>(count) * sizeof(T);
        if (bytes > capacity_ || data_ == nullptr) {
            data_.reset();
            capacity_ = 0;
            data_.reset(
                static_cast<std::byte*>(::operator new (bytes + kAlignment, std::align_val_t{kAlignment})));
            capacity_ = bytes + kAlignment;
        }
        return reinterpret_cast<T*>(data_.get());
    }

  private:
    static constexpr std::size_t kAlignment = 64;
    struct Free {
        void operator()(std::byte* p) const { ::operator delete (p, std::align_val_t{kAlignment}); }
    };
    std::unique_ptr<std::byte, Free> data_;
    std::size_t capacity_ = 0;
};

}  // namespace eps::kernels
