#include "cost/calibration.hpp"

#include <algorithm>

namespace eps::cost {

namespace {

// Replaces the element that is `same`, or appends it.
template <typename T, typename Same>
void put(std::vector<T>& list, const T& element, Same&& same) {
    const auto found = std::find_if(list.begin(), list.end(), same);
    if (found == list.end()) {
        list.push_back(element);
    } else {
        *found = element;
    }
}

void put_gemm(std::vector<GemmTimes>& list, const GemmTimes& more) {
    const auto found = std::find_if(list.begin(), list.end(), [&](const GemmTimes& gemm) {
        return gemm.n == more.n && gemm.k == more.k;
    });
    if (found == list.end()) {
        list.push_back(more);
        return;
    }
    if (!more.by_rows.sizes.empty()) found->by_rows = more.by_rows;
    if (!more.experts.empty()) found->experts = more.experts;
}

}  // namespace

const DTypeTimes* Calibration::find(DType dtype) const {
    const auto found = std::find_if(dtypes.begin(), dtypes.end(),
                                    [&](const DTypeTimes& times) { return times.dtype == dtype; });
    return found == dtypes.end() ? nullptr : &*found;
}

void merge_tables(Calibration& into, const Calibration& more) {
    std::vector<DTypeTimes>& dtypes = into.dtypes;
    for (const DTypeTimes& times : more.dtypes) {
        const auto found = std::find_if(dtypes.begin(), dtypes.end(),
                                        [&](const DTypeTimes& d) { return d.dtype == times.dtype; });
        if (found == dtypes.end()) {
            dtypes.push_back(times);
            continue;
        }
        for (const GemmTimes& gemm : times.gemms) put_gemm(found->gemms, gemm);
        for (const GateTimes& gate : times.gates)
            put(found->gates, gate, [&](const GateTimes& g) {
                return g.num_experts == gate.num_experts && g.hidden == gate.hidden;
            });
        for (const AttentionTimes& attention : times.attentions)
            put(found->attentions, attention, [&](const AttentionTimes& a) {
                return a.q_cols == attention.q_cols && a.out_cols == attention.out_cols;
            });
        for (const auto& [op, table] : times.compute_ops) found->compute_ops[op] = table;
        for (const auto& [op, table] : times.exchange_ops) found->exchange_ops[op] = table;
    }
}

}  // namespace eps::cost
