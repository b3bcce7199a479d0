// gate: logits in f32 by tiles whose order of summation is fixed, so that a row decides alike whatever rows
// are beside it (placements split rows differently); then scores and choice, row by row.
#include "kernels/cpu/aligned_buffer.hpp"
#include "kernels/cpu/gate_choice.hpp"
#include "kernels/cpu/ops.hpp"
#include "kernels/cpu/parallel.hpp"
#include "kernels/cpu/simd.hpp"
#include "kernels/cpu/tile.hpp"
#include "kernels/require.hpp"

#include <algorithm>
#include <vector>

namespace eps::kernels::cpu {
namespace {

constexpr std::int64_t kDepthBlock = 256;  // columns summed in one chain; the blocks' sums are added in order
constexpr std::int64_t kMaxBlockRows = 96;

/// dst[0..count) = src as f32, then zeros up to `padded`.
template <typename T>
void widen(const T* src, std::int64_t count, std::int64_t padded, float* dst) {
    vectorised([=]() EPS_INLINE {
#pragma omp simd
        for (std::int64_t i = 0; i < count; ++i) dst[i] = load(src + i);
        for (std::int64_t i = count; i < padded; ++i) dst[i] = 0;
    });
}

/// The gate's weight in panels [depth block][64 experts][256][64], zero where experts or columns are missing.
struct Panels {
    std::int64_t num_blocks;
    std::int64_t num_panels;
    float* data;

    float* at(std::int64_t block, std::int64_t panel) const {
        return data + (block * num_panels + panel) * kDepthBlock * kPanelCols;
    }
};

template <typename T>
void pack_panel(const Rows& weight, std::int64_t block, std::int64_t panel, float* to) {
    thread_local AlignedBuffer room;
    float* plain = room.room_for<float>(kPanelCols * kDepthBlock);
    const std::int64_t col = block * kDepthBlock;
    for (std::int64_t i = 0; i < kPanelCols; ++i) {
        const std::int64_t expert = panel * kPanelCols + i;
        const bool present = expert < weight.num_rows;
        const std::int64_t count = present ? std::min(kDepthBlock, weight.num_cols - col) : 0;
        widen(weight.row<T>(present ? expert : 0) + col, count, kDepthBlock, plain + i * kDepthBlock);
    }
    transpose_into_panel(plain, kDepthBlock, to);
}

/// logits [rows rounded up to six][panels * 64] of rows [rows.begin, rows.end).
template <typename T>
void compute_logits(const Rows& in, const Panels& panels, std::int64_t num_experts, Range rows,
                    float* logits) {
    thread_local AlignedBuffer room;
    const std::int64_t num_rows = round_up(rows.size(), kTileRows);
    const std::int64_t stride = panels.num_panels * kPanelCols;
    float* x = room.room_for<float>(num_rows * kDepthBlock);
    std::fill(x, x + num_rows * kDepthBlock, 0.0F);
    for (std::int64_t block = 0; block < panels.num_blocks; ++block) {
        const std::int64_t col = block * kDepthBlock;
        const std::int64_t depth = std::min(kDepthBlock, in.num_cols - col);
        for (std::int64_t i = 0; i < rows.size(); ++i) {
            widen(in.row<T>(rows.begin + i) + col, depth, depth, x + i * kDepthBlock);
        }
        for (std::int64_t panel = 0; panel < panels.num_panels; ++panel) {
            const std::int64_t count = std::min(kPanelCols, num_experts - panel * kPanelCols);
            for (std::int64_t i = 0; i < num_rows; i += kTileRows) {
                multiply_tile(x + i * kDepthBlock, kDepthBlock, panels.at(block, panel), depth,
                              logits + i * stride + panel * kPanelCols, stride,
                              round_up(count, kLanes) / kLanes, block > 0);
            }
        }
    }
}

void softmax(float* s, std::int64_t count) {
    vectorised([=]() EPS_INLINE {
        float largest = s[0];
#pragma omp simd reduction(max : largest)
        for (std::int64_t i = 0; i < count; ++i) largest = s[i] > largest ? s[i] : largest;
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (std::int64_t i = 0; i < count; ++i) {
            s[i] = exp_f32(s[i] - largest);
            sum += s[i];
        }
#pragma omp simd
        for (std::int64_t i = 0; i < count; ++i) s[i] /= sum;
    });
}

struct Output {
    std::int32_t* ids;
    float* weights;
};

template <typename T>
void gate_rows(const Rows& in, const Panels& panels, std::int64_t num_experts, const GateArgs& args,
               Range rows, Output output) {
    thread_local AlignedBuffer room;
    const std::int64_t stride = panels.num_panels * kPanelCols;
    float* logits = room.room_for<float>(round_up(rows.size(), kTileRows) * stride);
    compute_logits<T>(in, panels, num_experts, rows, logits);
    for (std::int64_t row = rows.begin; row < rows.end; ++row) {
        float* scores = logits + (row - rows.begin) * stride;
        softmax(scores, num_experts);
        choose({scores, static_cast<std::size_t>(num_experts)}, args, output.ids + row * args.top_k,
               output.weights + row * args.top_k);
    }
}

template <typename T>
void run_gate(const Rows& in, const Rows& weight, const GateArgs& args, Output output, int threads) {
    thread_local AlignedBuffer room;
    Panels panels{round_up(in.num_cols, kDepthBlock) / kDepthBlock,
                  round_up(weight.num_rows, kPanelCols) / kPanelCols, nullptr};
    const std::int64_t num_parts = panels.num_blocks * panels.num_panels;
    panels.data = room.room_for<float>(num_parts * kDepthBlock * kPanelCols);
    const int pack_team = team_size(threads, num_parts, num_parts, 4);
    for_tasks(num_parts, pack_team, [&](std::int64_t part) {
        const std::int64_t block = part / panels.num_panels;
        const std::int64_t panel = part % panels.num_panels;
        with_float_type(weight.dtype,
                        [&]<typename W>() { pack_panel<W>(weight, block, panel, panels.at(block, panel)); });
    });

    constexpr std::int64_t kWorkWorthAThread = 1 << 20;
    const std::int64_t work = in.num_rows * in.num_cols * weight.num_rows;
    const int team = team_size(threads, in.num_rows, work, kWorkWorthAThread);
    const std::int64_t num_blocks = round_up(round_up(in.num_rows, kMaxBlockRows) / kMaxBlockRows, team);
    for_tasks(num_blocks, team, [&](std::int64_t block) {
        const Range rows = part_of(in.num_rows, num_blocks, block);
        if (!rows.empty()) gate_rows<T>(in, panels, weight.num_rows, args, rows, output);
    });
}

}  // namespace

void gate(Rows in, Rows weight, const GateArgs& args, std::int32_t* ids, float* weights, int threads) {
    require(in.num_cols > 0 && in.num_cols == weight.num_cols && args.top_k <= weight.num_rows, "gate",
            "weight [experts >= top_k, cols]", in, weight);
    if (in.num_rows == 0) return;
    if (args.forced) {
        const bool known = std::all_of(ids, ids + in.num_rows * args.top_k,
                                       [&](std::int32_t id) { return id >= 0 && id < weight.num_rows; });
        require(known, "gate", "forced ids name experts", in, weight);
    }
    with_float_type(in.dtype, [&]<typename T>() { run_gate<T>(in, weight, args, {ids, weights}, threads); });
}

}  // namespace eps::kernels::cpu
