#include "kernels/cuda/group_gemm.cuh"

namespace eps::kernels::device {

const GroupGemm& group_gemm_column_pairs_swiglu() {
    return GroupGemmOf<Cooperative, 128, 256, 1, 2, Raster::AlongM, Then::swiglu>::kInterface;
}

}  // namespace eps::kernels::device
