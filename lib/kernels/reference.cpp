// The table of twins. Uses neither OpenMP nor oneDNN, so that it runs under the thread sanitizer.
#include "kernels/kernels.hpp"
#include "kernels/reference_ops.hpp"

namespace eps::kernels {

const Kernels& reference_kernels() {
    static const Kernels table{
        .name = "reference",
        .describe_gemm = reference::describe_gemm,
        .packed_bytes = reference::packed_bytes,
        .pack = reference::pack,
        .embed = reference::embed,
        .rms_norm = reference::rms_norm,
        .linear = reference::linear,
        .expert_gemm = reference::expert_gemm,
        .rope = reference::rope,
        .attention = reference::attention,
        .gate = reference::gate,
        .swiglu = reference::swiglu,
        .pack_rows = reference::pack_rows,
        .local_reduce = reference::local_reduce,
        .unpack_sum = reference::unpack_sum,
        .sum_rows = reference::sum_rows,
    };
    return table;
}

}  // namespace eps::kernels
