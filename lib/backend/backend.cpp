#include "backend/backend.hpp"

#include <tuple>

namespace eps::backend {

std::int64_t buffer_bytes(const Cases& cases) {
    std::int64_t bytes = 0;
    std::map<std::tuple<std::string, DType, std::int64_t>, std::int64_t> shared;
    for (const PassRunner* runner : cases)
        for (const plan::Buffer& buffer : runner->plan().buffers) {
            if (buffer.kind == plan::BufferKind::input) bytes += buffer.bytes();
            if (buffer.kind != plan::BufferKind::work) continue;
            std::int64_t& most = shared[{buffer.name, buffer.dtype, buffer.cols}];
            most = std::max(most, buffer.bytes());
        }
    for (const auto& [key, most] : shared) bytes += most;
    return bytes;
}

}  // namespace eps::backend
