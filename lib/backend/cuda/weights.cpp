#include "backend/cuda/weights.hpp"

#include "kernels/cuda/kernels.hpp"

#include <algorithm>
#include <cmath>

namespace eps::backend::cuda {

namespace {

std::int64_t bytes_of_weight(const placement::Weight& weight, DType dtype) {
    return weight.num_matrices * weight.rows * weight.cols * bytes_of(dtype);
}

bool all_finite(Rows rows) {
    return with_float_type(rows.dtype, [&]<typename T>() {
        const T* const values = rows.row<T>(0);
        return std::all_of(values, values + rows.num_rows * rows.num_cols,
                           [](T value) { return std::isfinite(static_cast<float>(value)); });
    });
}

}  // namespace

std::int64_t bytes_of_weights(const std::vector<placement::Weight>& weights, DType dtype) {
    Layout layout;
    for (const placement::Weight& weight : weights) layout.take(bytes_of_weight(weight, dtype));
    return layout.bytes();
}

Weights::Weights(const std::vector<placement::Weight>& weights, DType dtype,
                 const checkpoint::WeightSource& source)
    : memory_(bytes_of_weights(weights, dtype), "weights") {
    Layout layout;
    for (const placement::Weight& weight : weights) {
        std::byte* data = memory_.data() + layout.take(bytes_of_weight(weight, dtype));
        held_.push_back({{data, dtype, weight.rows, weight.cols, weight.cols}, weight.num_matrices});
        for (const placement::WeightPiece& piece : weight.pieces) {
            const Rows to{data, dtype, piece.rows.size(), piece.columns.size(), weight.cols};
            fill(piece, source, to);
            data += to.num_rows * weight.cols * bytes_of(dtype);
        }
    }
    check(cudaDeviceSynchronize(), "making the weights");
}

void Weights::fill(const placement::WeightPiece& piece, const checkpoint::WeightSource& source, Rows to) {
    if (const auto made = source.made(piece.tensor)) {
        kernels::device::fill_normal(nullptr, made->key, made->mean, made->deviation, made->cols,
                                     piece.rows.begin, piece.columns.begin, to);
        return;
    }
    // Some rows at a time: host memory stays small.
    constexpr std::int64_t kMostBytes = std::int64_t{64} << 20;
    const std::int64_t row_bytes = std::max<std::int64_t>(1, to.num_cols * bytes_of(to.dtype));
    const std::int64_t at_once = std::max<std::int64_t>(1, kMostBytes / row_bytes);
    std::vector<std::byte> bytes(at(std::min(at_once, to.num_rows) * row_bytes));
    for (std::int64_t row = 0; row < to.num_rows; row += at_once) {
        const std::int64_t end = std::min(row + at_once, to.num_rows);
        const Rows read{bytes.data(), to.dtype, end - row, to.num_cols, to.num_cols};
        source.read(piece.tensor, {piece.rows.begin + row, piece.rows.begin + end}, piece.columns, read);
        finite_ = finite_ && all_finite(read);
        const auto width = at(row_bytes);
        check(cudaMemcpy2D(to.slice(row, end).data, at(to.stride * bytes_of(to.dtype)), read.data, width,
                           width, at(end - row), cudaMemcpyHostToDevice),
              "copying weights to the GPU");
    }
}

Rows Weights::matrix(std::size_t weight_idx, std::int64_t matrix_idx) const {
    const Held& held = held_[weight_idx];
    Rows rows = held.first;
    rows.data += matrix_idx * rows.num_rows * rows.num_cols * bytes_of(rows.dtype);
    return rows;
}

}  // namespace eps::backend::cuda
