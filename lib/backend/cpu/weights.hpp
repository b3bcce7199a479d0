// A rank's weights on the CPU: packed for the GEMM, or plain rows. Shared by all cases with the same
// placement.
#pragma once

#include "backend/cpu/memory.hpp"
#include "base/rows.hpp"
#include "checkpoint/weight_source.hpp"
#include "kernels/kernels.hpp"
#include "placement/weights.hpp"

#include <cstdint>
#include <memory>
#include <vector>

namespace eps::backend::cpu {

/// Bytes that the weights will take, and the most at any moment while they are made (one matrix at a time is
/// read and packed).
struct WeightBytes {
    std::int64_t held = 0;
    std::int64_t most_while_loading = 0;
};
WeightBytes bytes_of_weights(const std::vector<placement::Weight>& weights, DType dtype,
                             const kernels::Kernels& kernels);

class Weights {
  public:
    /// Reads and packs everything. Errors: data (from the source), resource.
    Weights(const std::vector<placement::Weight>& weights, DType dtype,
            const checkpoint::WeightSource& source, const kernels::Kernels& kernels, MemoryCount& memory);
    ~Weights();

    /// Weight i in the order of the list it was made from: its plain rows, or matrix m of it.
    Rows plain(std::size_t weight_idx) const;
    const kernels::GemmWeight& matrix(std::size_t weight_idx, std::int64_t matrix_idx) const;

    /// Whether no weight is NaN or infinite (of what was read).
    bool finite() const { return finite_; }
    std::int64_t bytes() const { return bytes_; }

  private:
    struct Held {
        CountedBytes bytes;
        Rows rows;
        std::vector<std::unique_ptr<kernels::GemmWeight>> matrices;
    };
    std::vector<Held> held_;
    MemoryCount& memory_;
    std::int64_t bytes_ = 0;
    bool finite_ = true;
};

}  // namespace eps::backend::cpu
