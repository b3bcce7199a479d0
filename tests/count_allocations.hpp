// Counts heap allocations: replaces the global operator new, so exactly one source file of an executable
// includes this. Not inlined: gcc would see one side of new and delete only, and call the pair mismatched.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <new>

/// So far, by the whole program.
inline std::int64_t num_allocations = 0;

[[gnu::noinline]] void* operator new(std::size_t size) {
    ++num_allocations;
    if (void* memory = std::malloc(size == 0 ? 1 : size)) return memory;
    throw std::bad_alloc();
}
[[gnu::noinline]] void* operator new[](std::size_t size) {
    return operator new(size);
}
[[gnu::noinline]] void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
    ++num_allocations;
    return std::malloc(size == 0 ? 1 : size);
}
[[gnu::noinline]] void operator delete(void* memory) noexcept {
    std::free(memory);
}
[[gnu::noinline]] void operator delete[](void* memory) noexcept {
    std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept {
    std::free(memory);
}
[[gnu::noinline]] void operator delete[](void* memory, std::size_t) noexcept {
    std::free(memory);
}
