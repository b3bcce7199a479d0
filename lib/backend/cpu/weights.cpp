#include "backend/cpu/weights.hpp"

#include <algorithm>
#include <cmath>

namespace eps::backend::cpu {

namespace {

std::int64_t plain_bytes(const placement::Weight& weight, DType dtype) {
    return weight.rows * weight.cols * bytes_of(dtype);
}

// One matrix of the weight: its pieces stacked by rows.
void read_matrix(const placement::Weight& weight, std::int64_t matrix_idx,
                 const checkpoint::WeightSource& source, Rows out) {
    const auto per_matrix = std::ssize(weight.pieces) / weight.num_matrices;
    std::int64_t row = 0;
    for (std::int64_t i = 0; i < per_matrix; ++i) {
        const placement::WeightPiece& piece =
            weight.pieces[static_cast<std::size_t>(matrix_idx * per_matrix + i)];
        source.read(piece.tensor, piece.rows, piece.columns, out.slice(row, row + piece.rows.size()));
        row += piece.rows.size();
    }
}

bool all_finite(Rows rows) {
    return with_float_type(rows.dtype, [&]<typename T>() {
        bool finite = true;
        for (std::int64_t i = 0; i < rows.num_rows; ++i)
            for (std::int64_t j = 0; j < rows.num_cols; ++j)
                finite &= std::isfinite(static_cast<float>(rows.row<T>(i)[j]));
        return finite;
    });
}

}  // namespace

WeightBytes bytes_of_weights(const std::vector<placement::Weight>& weights, DType dtype,
                             const kernels::Kernels& kernels) {
    WeightBytes bytes;
    std::int64_t largest = 0;
    for (const placement::Weight& weight : weights) {
        const std::int64_t plain = plain_bytes(weight, dtype);
        bytes.held +=
            weight.gemm ? weight.num_matrices * kernels.packed_bytes(dtype, weight.rows, weight.cols) : plain;
        if (weight.gemm) largest = std::max(largest, plain);
    }
    bytes.most_while_loading = bytes.held + largest;
    return bytes;
}

Weights::Weights(const std::vector<placement::Weight>& weights, DType dtype,
                 const checkpoint::WeightSource& source, const kernels::Kernels& kernels, MemoryCount& memory)
    : memory_(memory) {
    for (const placement::Weight& weight : weights) {
        Held held;
        CountedBytes staging(memory, plain_bytes(weight, dtype));
        const Rows rows{staging.data(), dtype, weight.rows, weight.cols, weight.cols};
        for (std::int64_t m = 0; m < weight.num_matrices; ++m) {
            read_matrix(weight, m, source, rows);
            finite_ = finite_ && all_finite(rows);
            if (!weight.gemm) continue;
            held.matrices.push_back(kernels.pack(rows));
            memory.add(held.matrices.back()->bytes());
            bytes_ += held.matrices.back()->bytes();
        }
        if (!weight.gemm) {
            held.rows = rows;
            bytes_ += staging.size();
            held.bytes = std::move(staging);
        }
        held_.push_back(std::move(held));
    }
}

Weights::~Weights() {
    for (const Held& held : held_)
        for (const auto& matrix : held.matrices) memory_.add(-matrix->bytes());
}

Rows Weights::plain(std::size_t weight_idx) const {
    return held_[weight_idx].rows;
}

const kernels::GemmWeight& Weights::matrix(std::size_t weight_idx, std::int64_t matrix_idx) const {
    return *held_[weight_idx].matrices[static_cast<std::size_t>(matrix_idx)];
}

}  // namespace eps::backend::cpu
