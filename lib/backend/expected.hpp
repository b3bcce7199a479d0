// The counts to expect before a pass was ever run: exact where routing is forced, of uniformly routed tokens otherwise.
// For predicted memory, link bytes and plans that are only looked at.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <vector>

#include "backend/inputs.hpp"
#include "routing/row_maps.hpp"
#include "schedule/tables.hpp"

namespace eps::backend {

/// Counts of every source in `tables`' block for a MoE layer and micro-batch, from ids per global token.
std::vector<std::int32_t> block_counts(const schedule::Tables& tables, std::int64_t micro_batch,
                                       const std::function<void(Range tokens, std::span<std::int32_t> ids)>& write_ids);

/// Lowers a whole pass of `runner` from expected counts.
void lower_expected(const Prompts& prompts, PassRunner& runner);

}  // namespace eps::backend
