// The paper's own fixed rules (arXiv 2410.12247, sections 3 and 5.2): what "auto" means where nothing was
// measured, and with combine per_chunk, whose chunks are fixed before the load is known.
#pragma once

#include "plan/op.hpp"

#include <algorithm>
#include <cstdint>

namespace eps::cost {

/// Chunks of a rank's experts: 5, the paper's best for DeepSeek-V2 (table 2), or one per expert where there
/// are fewer.
constexpr std::int64_t paper_chunks(std::int64_t most_local_experts) {
    return std::clamp<std::int64_t>(most_local_experts, 1, 5);
}

/// GEMM kind of a chunk by its mean rows per expert: DenseGemm from 4096 rows on (figure 5a), GroupGemm
/// below.
constexpr plan::GemmKind paper_gemm(std::int64_t num_rows, std::int64_t num_experts) {
    return num_rows >= 4096 * num_experts ? plan::GemmKind::dense : plan::GemmKind::group;
}

}  // namespace eps::cost
