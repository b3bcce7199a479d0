#include "kernels/cuda/group_gemm.cuh"

namespace eps::kernels::device {

const GroupGemm& group_gemm_row_pairs_swiglu() {
    return GroupGemmOf<PingPong, 128, 192, 2, 1, Raster::AlongN, Then::swiglu>::kInterface;
}

}  // namespace eps::kernels::device
