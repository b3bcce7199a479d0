// What a GroupGemm of interleaved gate and up (interleaved.hpp) does with its accumulators: silu(gate) * up,
// both rounded to bf16 before, stored from registers. Half as many columns are written as the product has.
#pragma once

#include "kernels/cuda/interleaved.hpp"
#include "kernels/cuda/swiglu.cuh"
#include "kernels/cuda/vector.cuh"

#include <cstddef>

#include <cute/tensor.hpp>
#include <cutlass/arch/memory.h>
#include <cutlass/cutlass.h>
#include <cutlass/epilogue/collective/detail.hpp>
#include <cutlass/epilogue/dispatch_policy.hpp>
#include <cutlass/gemm/gemm.h>

namespace eps::kernels::device {

/// In the form that CUTLASS asks of an epilogue without shared memory.
class SwigluEpilogue {
  public:
    using DispatchPolicy = cutlass::epilogue::PtrArrayNoSmemWarpSpecialized;
    using ElementD = cutlass::bfloat16_t;
    using StrideD = cutlass::gemm::TagToStrideC_t<cutlass::layout::RowMajor*>;
    using InternalStrideD = cute::remove_pointer_t<StrideD>;
    using ElementC = ElementD;  // none is read
    using StrideC = StrideD;
    using InternalStrideC = InternalStrideD;
    using ElementOutput = ElementD;
    using ElementAccumulator = float;
    using ElementCompute = float;
    struct ThreadEpilogueOp {
        static constexpr int kCount = 8;
    };
    using GmemTiledCopyC = void;
    using GmemTiledCopyD = void;
    struct SharedStorage {};
    using TensorMapStorage = SharedStorage;

    /// Of each expert: [rows, n / 2].
    struct Arguments {
        ElementD** ptr_D = nullptr;
        StrideD dD = nullptr;
    };
    using Params = Arguments;

    template <class Problem>
    static constexpr Params to_underlying_arguments(const Problem& /*problem*/, const Arguments& arguments,
                                                    void* /*workspace*/) {
        return arguments;
    }
    template <class Problem>
    static std::size_t get_workspace_size(const Problem& /*problem*/, const Arguments& /*arguments*/,
                                          int /*num_sms*/) {
        return 0;
    }
    template <class Problem>
    static cutlass::Status initialize_workspace(const Problem& /*problem*/, const Arguments& /*arguments*/,
                                                void* /*workspace*/, cudaStream_t /*stream*/,
                                                cutlass::CudaHostAdapter* /*adapter*/ = nullptr) {
        return cutlass::Status::kSuccess;
    }
    template <class Problem>
    static bool can_implement(const Problem& /*problem*/, const Arguments& /*arguments*/) {
        return true;
    }

    CUTLASS_HOST_DEVICE explicit SwigluEpilogue(const Params& params) : params_(params) {}

    /// One tile; `residue`: how many rows and columns of the problem are left from it on.
    template <class Problem, class Tile, class Coord, class Engine, class Layout, class Mma, class Residue>
    CUTLASS_DEVICE void operator()(const Problem& /*problem*/, const Tile& tile, const Coord& coord,
                                   const cute::Tensor<Engine, Layout>& accumulators, const Mma& mma,
                                   const Residue& residue, int thread_idx, char* /*shared*/) const {
        constexpr int kPairs = kVectorLength<__nv_bfloat16>;
        constexpr int kTileCols = cute::get<1>(Tile{});
        static_assert(kTileCols % kInterleavedRows == 0);
        // ((pair, half of the rows, pairs of an atom), atoms in rows, atoms in columns)
        static_assert(cute::size<0, 0>(Layout{}) == 2 && cute::size<0, 1>(Layout{}) == 2 &&
                      cute::size<0, 2>(Layout{}) % kPairs == 0);
        const auto places =
            mma.get_thread_slice(thread_idx).partition_C(cute::make_identity_tensor(cute::take<0, 2>(tile)));
        const int expert = cute::get<3>(coord);
        const std::int64_t stride = cute::get<0>(params_.dD[expert]);
        auto* const out = reinterpret_cast<__nv_bfloat16*>(params_.ptr_D[expert]) +
                          cute::get<0>(coord) * cute::get<0>(tile) * stride +
                          cute::get<1>(coord) * (kTileCols / 2);
        CUTLASS_PRAGMA_UNROLL
        for (int atom_col = 0; atom_col < cute::size<2>(Layout{}); ++atom_col) {
            CUTLASS_PRAGMA_UNROLL
            for (int atom_row = 0; atom_row < cute::size<1>(Layout{}); ++atom_row) {
                CUTLASS_PRAGMA_UNROLL
                for (int half = 0; half < 2; ++half) {
                    CUTLASS_PRAGMA_UNROLL
                    for (int first = 0; first < cute::size<0, 2>(Layout{}); first += kPairs) {
                        const auto place = places(cute::make_coord(0, half, first), atom_row, atom_col);
                        const int row = cute::get<0>(place), col = cute::get<1>(place);
                        if (row >= cute::get<0>(residue) || col >= cute::get<1>(residue)) continue;
                        uint4 results;
                        auto* const pairs = reinterpret_cast<__nv_bfloat162*>(&results);
                        CUTLASS_PRAGMA_UNROLL
                        for (int i = 0; i < kPairs; i += 2) {
                            const auto result = [&](int j) {
                                const float2 pair = __bfloat1622float2(__floats2bfloat162_rn(
                                    accumulators(cute::make_coord(0, half, first + j), atom_row, atom_col),
                                    accumulators(cute::make_coord(1, half, first + j), atom_row, atom_col)));
                                return swiglu_of<__nv_bfloat16>(pair.x, pair.y);
                            };
                            pairs[i / 2] = __floats2bfloat162_rn(result(i), result(i + 1));
                        }
                        // An assignment becomes four stores here.
                        cutlass::arch::global_store<uint4, sizeof(uint4)>(
                            results, out + row * stride + output_of(col), true);
                    }
                }
            }
        }
    }

  private:
    Params params_;
};

}  // namespace eps::kernels::device
