#include "workload/integer_matrix.hpp"

#include "base/error.hpp"

#include <cstring>

#include <fmt/core.h>

namespace eps::workload {

IntegerMatrix::IntegerMatrix(const checkpoint::Safetensors& file, const std::string& name,
                             std::int64_t num_rows, std::int64_t num_cols)
    : num_cols_(num_cols) {
    const std::string expected = fmt::format("expected int64 [{}, {}]", num_rows, num_cols);
    const checkpoint::StoredTensor* tensor = file.find(name);
    if (tensor == nullptr)
        throw Error(Exit::data, fmt::format("{}: tensor {} is missing, {}", file.path(), name, expected));
    if (tensor->dtype != "I64" || tensor->shape != std::vector<std::int64_t>{num_rows, num_cols})
        throw Error(Exit::data, fmt::format("{}: tensor {} is {} {}, {}", file.path(), name, tensor->dtype,
                                            checkpoint::shape_text(tensor->shape), expected));
    data_ = file.data(*tensor);
}

std::int64_t IntegerMatrix::at(std::int64_t row_idx, std::int64_t col_idx) const {
    std::int64_t value = 0;  // copied: tensors in a file need not be aligned
    std::memcpy(&value, data_ + (row_idx * num_cols_ + col_idx) * 8, sizeof value);
    return value;
}

}  // namespace eps::workload
