// The one template of the GroupGemm instances. A translation unit per instance: each takes half a minute and
// 3 GB.
#pragma once

#include "base/error.hpp"
#include "kernels/cuda/group_gemm.hpp"
#include "kernels/cuda/swiglu_epilogue.cuh"

#include <algorithm>
#include <memory>
#include <string>
#include <type_traits>

#include <cutlass/cutlass.h>
#include <cutlass/epilogue/collective/collective_builder.hpp>
#include <cutlass/gemm/collective/collective_builder.hpp>
#include <cutlass/gemm/device/gemm_universal_adapter.h>
#include <cutlass/gemm/group_array_problem_shape.hpp>
#include <cutlass/gemm/kernel/gemm_universal.hpp>

namespace eps::kernels::device {

struct Cooperative {
    using Mainloop = cutlass::gemm::KernelPtrArrayTmaWarpSpecializedCooperative;
    using Epilogue = cutlass::epilogue::PtrArrayTmaWarpSpecializedCooperative;
};
struct PingPong {
    using Mainloop = cutlass::gemm::KernelPtrArrayTmaWarpSpecializedPingpong;
    using Epilogue = cutlass::epilogue::PtrArrayTmaWarpSpecializedPingpong;
};

using Raster = cutlass::gemm::kernel::detail::RasterOrderOptions;  // which tiles follow each other

template <class Schedule, int kTileRows, int kTileCols, int kClusterRows, int kClusterCols, Raster kRaster,
          Then kThen = Then::nothing>
struct GroupGemmOf {
    using Element = cutlass::bfloat16_t;
    using Tile = cute::Shape<cute::Int<kTileRows>, cute::Int<kTileCols>, cute::_64>;
    using Cluster = cute::Shape<cute::Int<kClusterRows>, cute::Int<kClusterCols>, cute::_1>;
    using Problem = cutlass::gemm::GroupProblemShape<cute::Shape<int, int, int>>;  // (rows, n, k)
    static constexpr int kVector = 8;                                              // elements of 16 bytes

    using Plain = typename cutlass::epilogue::collective::CollectiveBuilder<
        cutlass::arch::Sm90, cutlass::arch::OpClassTensorOp, Tile, Cluster,
        cutlass::epilogue::collective::EpilogueTileAuto, float, float, void, cutlass::layout::RowMajor*,
        kVector, Element, cutlass::layout::RowMajor*, kVector, typename Schedule::Epilogue>::CollectiveOp;
    using Epilogue = std::conditional_t<
        kThen == Then::swiglu,
        cutlass::epilogue::collective::detail::Sm90TmaWarpSpecializedAdapter<SwigluEpilogue>, Plain>;
    // B is the weight [n, k], which CUTLASS calls a column-major [k, n].
    using Mainloop = typename cutlass::gemm::collective::CollectiveBuilder<
        cutlass::arch::Sm90, cutlass::arch::OpClassTensorOp, Element, cutlass::layout::RowMajor*, kVector,
        Element, cutlass::layout::ColumnMajor*, kVector, float, Tile, Cluster,
        cutlass::gemm::collective::StageCountAutoCarveout<static_cast<int>(
            sizeof(typename Epilogue::SharedStorage))>,
        typename Schedule::Mainloop>::CollectiveOp;
    using Kernel = cutlass::gemm::kernel::GemmUniversal<Problem, Mainloop, Epilogue>;
    using Gemm = cutlass::gemm::device::GemmUniversalAdapter<Kernel>;
    static_assert(sizeof(typename Kernel::InternalStrideA) == sizeof(std::int64_t));

    static typename Gemm::Arguments arguments(const GroupProblems& problems, int num_experts, int num_sms) {
        typename Gemm::Arguments args{};
        args.mode = cutlass::gemm::GemmUniversalMode::kGrouped;
        using Size = typename Problem::UnderlyingProblemShape;
        args.problem_shape = {num_experts, reinterpret_cast<Size*>(problems.sizes), nullptr};
        using Inputs = const Element**;
        args.mainloop.ptr_A = reinterpret_cast<Inputs>(problems.in);
        args.mainloop.dA = reinterpret_cast<typename Kernel::InternalStrideA*>(problems.in_stride);
        args.mainloop.ptr_B = reinterpret_cast<Inputs>(problems.weight);
        args.mainloop.dB = reinterpret_cast<typename Kernel::InternalStrideB*>(problems.weight_stride);
        if constexpr (kThen == Then::nothing) {
            args.epilogue.thread.alpha = 1;
            args.epilogue.thread.beta = 0;
        }
        args.epilogue.ptr_D = reinterpret_cast<Element**>(problems.out);
        args.epilogue.dD = reinterpret_cast<typename Kernel::InternalStrideD*>(problems.out_stride);
        constexpr int kCluster = kClusterRows * kClusterCols;  // whole clusters are launched
        args.hw_info.sm_count = std::max(num_sms / kCluster, 1) * kCluster;
        args.scheduler.raster_order = kRaster;
        return args;
    }

    static void require(cutlass::Status status, const char* what) {
        if (status != cutlass::Status::kSuccess)
            throw Error(Exit::internal,
                        std::string("GroupGemm: ") + what + ": " + cutlassGetStatusString(status));
    }

    static std::size_t workspace_bytes(int num_sms) {
        return Gemm::get_workspace_size(arguments({}, 0, num_sms));
    }

    static std::shared_ptr<void> prepare(const GroupProblems& problems, int num_experts, int num_sms,
                                         void* workspace) {
        auto gemm = std::make_shared<Gemm>();
        require(gemm->initialize(arguments(problems, num_experts, num_sms), workspace), "initialize");
        return gemm;
    }

    static void launch(Stream stream, void* prepared) {
        require(static_cast<Gemm*>(prepared)->run(stream), "launch");
    }

    static constexpr GroupGemm kInterface{workspace_bytes, prepare, launch};
};

}  // namespace eps::kernels::device
