#include "checkpoint/reading.hpp"

#include <fmt/core.h>

namespace eps::checkpoint {

const model::Tensor& require_tensor(const model::Catalog& catalog, const std::string& name) {
    const model::Tensor* const tensor = catalog.find(name);
    if (tensor == nullptr) throw Error(Exit::data, fmt::format("the model has no tensor {}", name));
    return *tensor;
}

void check_reading(const model::Tensor& tensor, Range rows, Range columns, const Rows& out) {
    const auto is_inside = [](Range range, std::int64_t size) {
        return 0 <= range.begin && range.begin <= range.end && range.end <= size;
    };
    if (!is_inside(rows, tensor.rows) || !is_inside(columns, tensor.cols))
        throw Error(Exit::internal,
                    fmt::format("rows [{}, {}) x columns [{}, {}) of tensor {}, which is {} x {}", rows.begin,
                                rows.end, columns.begin, columns.end, tensor.name, tensor.rows, tensor.cols));
    if (out.num_rows != rows.size() || out.num_cols != columns.size() || out.stride < out.num_cols)
        throw Error(Exit::internal,
                    fmt::format("{} x {} values of tensor {} for room of {} x {}", rows.size(),
                                columns.size(), tensor.name, out.num_rows, out.num_cols));
    if (out.dtype != DType::f32 && out.dtype != DType::bf16)
        throw Error(Exit::internal, fmt::format("tensor {} read as {}", tensor.name, name_of(out.dtype)));
}

}  // namespace eps::checkpoint
