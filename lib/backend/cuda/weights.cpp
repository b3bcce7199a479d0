#include "backend/cuda/weights.hpp"

#include "kernels/cuda/interleaved.hpp"
#include "kernels/cuda/kernels.hpp"

#include <algorithm>
#include <cmath>

namespace eps::backend::cuda {

namespace {

std::int64_t bytes_of_matrix(const placement::Weight& weight, DType dtype) {
    return weight.rows * weight.cols * bytes_of(dtype);
}

std::int64_t bytes_of_weight(const placement::Weight& weight, DType dtype) {
    return weight.num_matrices * bytes_of_matrix(weight, dtype);
}

bool lies_interleaved(const placement::Weight& weight, DType dtype) {
    return weight.role == placement::WeightRole::expert_gate_up &&
           kernels::device::is_interleaved(dtype, weight.rows);
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

std::int64_t bytes_while_loading(const std::vector<placement::Weight>& weights, DType dtype) {
    std::int64_t bytes = 0;
    for (const placement::Weight& weight : weights)
        if (lies_interleaved(weight, dtype)) bytes = std::max(bytes, bytes_of_matrix(weight, dtype));
    return bytes;
}

Weights::Weights(const std::vector<placement::Weight>& weights, DType dtype,
                 const checkpoint::WeightSource& source)
    : memory_(bytes_of_weights(weights, dtype), "weights") {
    Layout layout;
    for (const placement::Weight& weight : weights) {
        std::byte* const data = memory_.data() + layout.take(bytes_of_weight(weight, dtype));
        held_.push_back({{data, dtype, weight.rows, weight.cols, weight.cols}, weight.num_matrices});
        if (lies_interleaved(weight, dtype))
            fill_interleaved(weight, source, held_.back());
        else
            fill(weight.pieces, source, held_.back().first);
    }
    check(cudaDeviceSynchronize(), "making the weights");
}

// Matrix after matrix is made in the order of its pieces and copied to its place.
void Weights::fill_interleaved(const placement::Weight& weight, const checkpoint::WeightSource& source,
                               const Held& held) {
    Rows plain = held.first;
    const DeviceBytes made(bytes_of_matrix(weight, plain.dtype), "a weight being made");
    plain.data = made.data();
    std::vector<std::int32_t> order;
    for (std::int64_t row = 0; row < plain.num_rows; ++row)
        order.push_back(
            static_cast<std::int32_t>(kernels::device::output_of(row) + row % 2 * plain.num_rows / 2));
    const DeviceBytes index(std::ssize(order) * 4, "the order of a weight's rows");
    check(cudaMemcpy(index.data(), order.data(), order.size() * 4, cudaMemcpyHostToDevice),
          "copying the order of a weight's rows");
    const std::size_t pieces = weight.pieces.size() / at(weight.num_matrices);
    for (std::int64_t m = 0; m < weight.num_matrices; ++m) {
        fill(std::span(weight.pieces).subspan(at(m) * pieces, pieces), source, plain);
        kernels::device::gather_rows(nullptr, plain, reinterpret_cast<const std::int32_t*>(index.data()),
                                     matrix(held, m));
    }
    check(cudaDeviceSynchronize(), "making the weights");
}

// Piece after piece, from the first row of `to` on.
void Weights::fill(std::span<const placement::WeightPiece> pieces, const checkpoint::WeightSource& source,
                   const Rows& to) {
    std::byte* data = to.data;
    for (const placement::WeightPiece& piece : pieces) {
        const Rows rows{data, to.dtype, piece.rows.size(), piece.columns.size(), to.stride};
        fill(piece, source, rows);
        data += rows.num_rows * rows.stride * bytes_of(rows.dtype);
    }
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
    return matrix(held_[weight_idx], matrix_idx);
}

Rows Weights::matrix(const Held& held, std::int64_t matrix_idx) {
    Rows rows = held.first;
    rows.data += matrix_idx * rows.num_rows * rows.num_cols * bytes_of(rows.dtype);
    return rows;
}

}  // namespace eps::backend::cuda
