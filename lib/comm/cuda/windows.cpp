#include "comm/cuda/windows.hpp"

#include "base/range.hpp"
#include "comm/collectives.hpp"
#include "comm/cuda/call.hpp"

#include <algorithm>
#include <cstring>
#include <exception>
#include <string>

#include <fmt/core.h>

namespace eps::comm::cuda {
namespace {

constexpr std::int64_t kSmallBytes = std::int64_t{2} << 20;

/// What a rank tells the others about a window.
struct Opened {
    cudaIpcMemHandle_t handle = {};
    std::int64_t offset = 0;  // in what the handle opens
    std::int64_t bytes = 0;
};

Opened open_own(std::byte* data, std::int64_t bytes) {
    Opened opened;
    if (bytes == 0) return opened;
    CUdeviceptr base = 0;
    std::size_t whole = 0;
    check(driver_function<decltype(cuMemGetAddressRange)>("cuMemGetAddressRange")(
              &base, &whole, reinterpret_cast<CUdeviceptr>(data)),
          "cuMemGetAddressRange");
    check(cudaIpcGetMemHandle(&opened.handle, data), "cudaIpcGetMemHandle");
    opened.offset = static_cast<std::int64_t>(reinterpret_cast<CUdeviceptr>(data) - base);
    opened.bytes = bytes;
    return opened;
}

}  // namespace

Windows::Windows(Communicator& world) : world_(world), exceptions_before_(std::uncaught_exceptions()) {
    void* memory = nullptr;
    check(cudaMalloc(&memory, at(kSmallBytes)), "cudaMalloc");
    small_ = static_cast<std::byte*>(memory);
    check(cudaMemset(small_, 0, at(kSmallBytes)), "cudaMemset");
    check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    add(small_, kSmallBytes);
}

Windows::~Windows() {
    if (std::uncaught_exceptions() > exceptions_before_) return;
    for (Window& window : windows_) close(window);
    world_.barrier();  // nobody has it open any more
    cudaFree(small_);
}

std::int32_t Windows::add(std::byte* data, std::int64_t bytes) {
    const Opened own = open_own(data, bytes);
    const Bytes told = all_gather_bytes(world_, std::as_bytes(std::span(&own, 1)));
    Window& window = windows_.emplace_back();
    window.bytes = bytes;
    std::string trouble;
    for (std::int64_t rank = 0; rank < world_.size(); ++rank) {
        Opened opened;
        std::memcpy(&opened, told.data() + rank * static_cast<std::int64_t>(sizeof opened), sizeof opened);
        void* mapped = nullptr;
        if (rank != world_.rank() && opened.bytes > 0) {
            const auto result = cudaIpcOpenMemHandle(&mapped, opened.handle, cudaIpcMemLazyEnablePeerAccess);
            if (result != cudaSuccess)
                trouble = fmt::format(
                    "rank {} cannot open device memory of rank {}: {}; transport nccl needs "
                    "no such access",
                    world_.rank(), rank, cudaGetErrorString(result));
        }
        window.mapped.push_back(mapped);
        window.data.push_back(rank == world_.rank() ? data
                              : mapped == nullptr   ? nullptr
                                                    : static_cast<std::byte*>(mapped) + opened.offset);
    }
    for (const std::string& text : all_gather_strings(world_, trouble))
        if (!text.empty()) throw Error(Exit::resource, text);
    return static_cast<std::int32_t>(windows_.size() - 1);
}

void Windows::close(Window& window) {
    for (void* mapped : window.mapped)
        if (mapped != nullptr) cudaIpcCloseMemHandle(mapped);
    window = {};
}

void Windows::remove(std::int32_t window) {
    close(windows_.at(at(window)));
    if (std::uncaught_exceptions() == exceptions_before_) world_.barrier();
}

Windows::Place Windows::place_of(const std::byte* data, std::int64_t bytes) const {
    for (std::size_t i = 0; i < windows_.size(); ++i) {
        const Window& window = windows_[i];
        if (window.bytes == 0) continue;
        const std::byte* begin = window.data[at(world_.rank())];
        if (data >= begin && data + bytes <= begin + window.bytes)
            return {static_cast<std::int32_t>(i), data - begin};
    }
    throw Error(Exit::internal, fmt::format("{} bytes that rank {} receives by copy engines lie in no window",
                                            bytes, world_.rank()));
}

std::byte* Windows::address(std::int64_t rank, Place place) const {
    return windows_.at(at(place.window)).data.at(at(rank)) + place.offset;
}

std::byte* Windows::take(std::int64_t bytes) {
    constexpr std::int64_t kApart = 256;
    const std::int64_t begin = taken_;
    taken_ += (bytes + kApart - 1) / kApart * kApart;
    if (taken_ > kSmallBytes)
        throw Error(Exit::internal,
                    fmt::format("more than {} bytes of exchanges over the same windows", kSmallBytes));
    return small_ + begin;
}

}  // namespace eps::comm::cuda
