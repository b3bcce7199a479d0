#include "plan/plan.hpp"

namespace eps::plan {

const Swiglu* activation_of(const RankPlan& plan, const Op& product) {
    const auto* gemm = std::get_if<ExpertGemm>(&product.args);
    const std::size_t next = at(product.id) + 1;
    if (gemm == nullptr || gemm->which != ExpertWeight::gate_up || next >= plan.ops.size()) return nullptr;
    const Op& op = plan.ops[next];
    const auto* swiglu = std::get_if<Swiglu>(&op.args);
    const Range rows{plan.numbers[at(gemm->offsets.begin)], plan.numbers[at(gemm->offsets.end - 1)]};
    const bool follows = swiglu != nullptr && op.lane == product.lane && op.after.empty() &&
                         swiglu->in.buffer == gemm->out && swiglu->in.rows == rows &&
                         swiglu->out.rows == rows;
    return follows ? swiglu : nullptr;
}

}  // namespace eps::plan
