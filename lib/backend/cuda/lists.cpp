#include "backend/cuda/lists.hpp"

#include "base/range.hpp"

#include <algorithm>

#include <fmt/format.h>

namespace eps::backend::cuda {

const std::int32_t* Lists::put(std::span<const std::int64_t> values, cudaStream_t stream) {
    const auto bytes = static_cast<std::int64_t>(values.size() * sizeof(std::int32_t));
    if (used_ + bytes > kBytes)
        throw Error(Exit::resource, fmt::format("the lists of a pass are longer than {} bytes", kBytes));
    auto* host = reinterpret_cast<std::int32_t*>(host_.data() + used_);
    std::byte* device = device_ + used_;
    std::ranges::transform(values, host, [](std::int64_t value) { return static_cast<std::int32_t>(value); });
    check(cudaMemcpyAsync(device, host, at(bytes), cudaMemcpyHostToDevice, stream), "copying a list");
    used_ += (bytes + 255) / 256 * 256;
    return reinterpret_cast<const std::int32_t*>(device);
}

}  // namespace eps::backend::cuda
