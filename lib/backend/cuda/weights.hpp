// A rank's weights in GPU memory: plain rows, all in one allocation; gate and up of experts in the order of
// kernels/cuda/interleaved.hpp where that holds for them. Shared by all cases with the same placement.
#pragma once

#include "backend/cuda/memory.hpp"
#include "base/rows.hpp"
#include "checkpoint/weight_source.hpp"
#include "placement/weights.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace eps::backend::cuda {

std::int64_t bytes_of_weights(const std::vector<placement::Weight>& weights, DType dtype);
/// Beside them while they are made: one matrix that is put in another order.
std::int64_t bytes_while_loading(const std::vector<placement::Weight>& weights, DType dtype);

class Weights {
  public:
    /// Values that are made are made on the GPU, others are read and copied. Errors: data, resource.
    Weights(const std::vector<placement::Weight>& weights, DType dtype,
            const checkpoint::WeightSource& source);

    /// Matrix m of weight i in the order of the list it was made from.
    Rows matrix(std::size_t weight_idx, std::int64_t matrix_idx = 0) const;

    /// Whether no weight that was read is NaN or infinite.
    bool finite() const { return finite_; }
    std::int64_t bytes() const { return memory_.size(); }

  private:
    struct Held {
        Rows first;  // matrix
        std::int64_t num_matrices = 0;
    };
    static Rows matrix(const Held& held, std::int64_t matrix_idx);
    void fill_interleaved(const placement::Weight& weight, const checkpoint::WeightSource& source,
                          const Held& held);
    void fill(std::span<const placement::WeightPiece> pieces, const checkpoint::WeightSource& source,
              const Rows& to);
    void fill(const placement::WeightPiece& piece, const checkpoint::WeightSource& source, Rows to);

    DeviceBytes memory_;
    std::vector<Held> held_;
    bool finite_ = true;
};

}  // namespace eps::backend::cuda
