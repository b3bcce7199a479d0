// What of a calibration some plans ask for: their shapes and the largest sizes.
#pragma once

#include "cost/calibration.hpp"
#include "plan/plan.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace eps::cost {

/// Seconds of a run: tables need no larger sizes beyond one so long.
constexpr double kLongRun_s = 30e-3;

/// What is measured for it. memory: an op that moves memory, by its place in plan::kOpNames.
enum class Asked : std::int32_t { linear, experts, gate, attention, compute_op, exchange_op, exchange };

/// Plain data, so that ranks can send it. Meaning of `n` and `k`: linear, experts: widths; gate: experts and
/// hidden; attention: q_cols and out_cols; compute_op, exchange_op: place in kOpNames and the columns of a
/// row; exchange: 0.
struct Wanted {
    Asked what = Asked::linear;
    DType dtype = DType::f32;
    std::int64_t n = 0;
    std::int64_t k = 0;
    std::int64_t most = 0;         // rows, tokens of a sequence, or bytes
    std::int64_t num_experts = 0;  // experts: of a rank
    bool gate_up = false;          // experts: gate and up, behind which stands SwiGLU

    bool same_table(const Wanted& other) const {
        return what == other.what && dtype == other.dtype && n == other.n &&
               (k == other.k || what == Asked::compute_op || what == Asked::exchange_op);
    }
};

/// "experts [80, 96] in f32", "swiglu in bf16".
std::string described(const Wanted& wanted);

/// Adds what the ops of a lowered pass ask for to the list; of equal tables the larger sizes stay. Unless
/// `everything` is wanted, only what choices depend on: experts and what stands around them in a layer.
void want(const plan::RankPlan& plan, DType dtype, bool everything, std::vector<Wanted>& list);

/// Adds one table, or its larger sizes.
void want(const Wanted& wanted, std::vector<Wanted>& list);

/// Those of the list that the calibration lacks.
std::vector<Wanted> missing(const Calibration& calibration, const std::vector<Wanted>& list);

}  // namespace eps::cost
