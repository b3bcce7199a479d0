#include "backend/cuda/lists.hpp"

#include "base/range.hpp"

#include <algorithm>

#include <fmt/format.h>

namespace eps::backend::cuda {

std::byte* Lists::take(std::int64_t bytes) {
    return used_ + bytes > kBytes / 4 * 3 ? nullptr : next(bytes);
}

std::byte* Lists::next(std::int64_t bytes) {
    if (used_ + bytes > kBytes)
        throw Error(Exit::resource, fmt::format("the lists of a pass are longer than {} bytes", kBytes));
    std::byte* const taken = host_.data() + used_;
    used_ += (bytes + 255) / 256 * 256;
    return taken;
}

const std::int32_t* Lists::put(std::span<const std::int64_t> values, cudaStream_t stream) {
    auto* const to = reinterpret_cast<std::int32_t*>(device_ + used_);
    send(values, to, stream);
    return to;
}

void Lists::send(std::span<const std::int64_t> values, std::int32_t* to, cudaStream_t stream) {
    const auto bytes = static_cast<std::int64_t>(values.size() * sizeof(std::int32_t));
    std::byte* const host = next(bytes);
    std::ranges::transform(values, reinterpret_cast<std::int32_t*>(host),
                           [](std::int64_t value) { return static_cast<std::int32_t>(value); });
    check(cudaMemcpyAsync(to, host, at(bytes), cudaMemcpyHostToDevice, stream), "copying a list");
}

}  // namespace eps::backend::cuda
