// The table of fast kernels.
#include "kernels/cpu/onednn_matmul.hpp"
#include "kernels/cpu/ops.hpp"
#include "kernels/kernels.hpp"

namespace eps::kernels {

const Kernels& cpu_kernels() {
    static const Kernels table{
        .name = onednn_version(),
        .describe_gemm = cpu::describe_gemm,
        .packed_bytes = cpu::packed_bytes,
        .pack = cpu::pack,
        .embed = cpu::embed,
        .rms_norm = cpu::rms_norm,
        .linear = cpu::linear,
        .expert_gemm = cpu::expert_gemm,
        .rope = cpu::rope,
        .attention = cpu::attention,
        .gate = cpu::gate,
        .swiglu = cpu::swiglu,
        .pack_rows = cpu::pack_rows,
        .local_reduce = cpu::local_reduce,
        .unpack_sum = cpu::unpack_sum,
        .sum_rows = cpu::sum_rows,
    };
    return table;
}

}  // namespace eps::kernels
