#include "kernels/cuda/group_gemm.cuh"

namespace eps::kernels::device {

const GroupGemm& group_gemm_row_pairs() {
    return GroupGemmOf<PingPong, 128, 192, 2, 1, Raster::AlongN>::kInterface;
}

}  // namespace eps::kernels::device
