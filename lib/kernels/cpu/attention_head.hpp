// One head of attention: packs the keys and values that a stretch of rows sees, then takes blocks of 48 rows:
// all their scores, an exact softmax, the product with the values. Blocks and tiles start at the sequence's
// first row, so a row's bits depend on its own sequence and head only. Included by attention.cpp alone.
#pragma once

#include "kernels/cpu/aligned_buffer.hpp"
#include "kernels/cpu/simd.hpp"
#include "kernels/cpu/tile.hpp"
#include "kernels/kernels.hpp"

#include <algorithm>
#include <cstring>
#include <type_traits>

namespace eps::kernels::cpu {

constexpr std::int64_t kBlockRows = 48;
constexpr std::int64_t kAhead = 6;  // rows

struct AttentionOperands {
    Rows q;
    Rows kv;
    Rows k_rope;
    Rows out;
    AttentionArgs args;

    std::int64_t q_width() const { return args.nope_dim + args.rope_dim; }
    std::int64_t kv_width() const { return args.nope_dim + args.v_dim; }
};

/// Rows [rows.begin, rows.end) of a sequence that starts at row `first_row`, for one head.
struct AttentionTask {
    std::int64_t first_row;
    std::int64_t head;
    Range rows;
};

/// What a thread keeps from task to task.
struct AttentionRoom {
    AlignedBuffer keys;
    AlignedBuffer values;
    AlignedBuffer plain;
    AlignedBuffer queries;
    AlignedBuffer scores;
    AlignedBuffer probabilities;
    AlignedBuffer sums;
};

/// `count` elements of type In as type T (equal, or widened).
template <typename In, typename T>
void copy_elements(const In* from, T* to, std::int64_t count) {
    if constexpr (std::is_same_v<In, T>) {
        std::memcpy(to, from, static_cast<std::size_t>(count) * sizeof(T));
    } else {
        vectorised([=]() EPS_INLINE {
#pragma omp simd
            for (std::int64_t i = 0; i < count; ++i) store(to + i, load(from + i));
        });
    }
}

/// Rows of one head lie kilobytes apart, so the hardware does not see the next one coming.
template <typename T>
void prefetch(const T* from, std::int64_t count) {
    const auto* bytes = reinterpret_cast<const char*>(from);
    for (std::int64_t i = 0; i < count * static_cast<std::int64_t>(sizeof(T)); i += 64)
        __builtin_prefetch(bytes + i);
}

/// In: dtype of the operands. T: dtype of the multiplication.
template <typename In, typename T>
class HeadAttention {
  public:
    HeadAttention(const AttentionOperands& operands, const AttentionTask& task, AttentionRoom& room)
        : x_(operands), args_(operands.args), task_(task), room_(room) {
        depth_ = round_up(x_.q_width(), kLanes * kDepthPack<T>);
        num_keys_ = round_up(task.rows.end, kPanelCols);
        v_width_ = round_up(args_.v_dim, kPanelCols);
    }

    void run() {
        pack_keys();
        pack_values();
        for (std::int64_t row = task_.rows.begin; row < task_.rows.end; row += kBlockRows) {
            const Range block{row, std::min(row + kBlockRows, task_.rows.end)};
            score(block);
            softmax(block);
            weigh_values(block);
        }
    }

  private:
    std::int64_t row_ahead(std::int64_t row) const {
        return task_.first_row + std::min(row + kAhead, task_.rows.end - 1);
    }

    /// Panels of 64 keys, [panel][depth][64]; absent keys are zero.
    void pack_keys() {
        keys_ = room_.keys.room_for<T>(num_keys_ * depth_);
        T* plain = room_.plain.room_for<T>(kPanelCols * depth_);
        std::fill(plain, plain + kPanelCols * depth_, T{});
        for (std::int64_t panel = 0; panel < num_keys_; panel += kPanelCols) {
            for (std::int64_t i = 0; i < kPanelCols; ++i) {
                const std::int64_t key = panel + i;
                T* to = plain + i * depth_;
                if (key < task_.rows.end) {
                    const std::int64_t row = task_.first_row + key;
                    prefetch(x_.kv.row<In>(row_ahead(key)) + task_.head * x_.kv_width(), args_.nope_dim);
                    copy_elements(x_.kv.row<In>(row) + task_.head * x_.kv_width(), to, args_.nope_dim);
                    copy_elements(x_.k_rope.row<In>(row), to + args_.nope_dim, args_.rope_dim);
                } else {
                    std::fill(to, to + depth_, T{});
                }
            }
            transpose_into_panel(plain, depth_, keys_ + panel * depth_);
        }
    }

    /// Panels of 64 value columns, [panel][key][64], keys in pairs for bf16; absent keys and columns are
    /// zero.
    void pack_values() {
        values_ = room_.values.room_for<T>(num_keys_ * v_width_);
        T* plain = room_.plain.room_for<T>(kDepthPack<T> * v_width_);
        std::fill(plain, plain + kDepthPack<T> * v_width_, T{});
        const std::int64_t v_col = task_.head * x_.kv_width() + args_.nope_dim;
        for (std::int64_t key = 0; key < task_.rows.end; key += kDepthPack<T>) {
            for (std::int64_t i = 0; i < kDepthPack<T>; ++i) {
                T* to = plain + i * v_width_;
                if (key + i < task_.rows.end) {
                    prefetch(x_.kv.row<In>(row_ahead(key + i)) + v_col, args_.v_dim);
                    copy_elements(x_.kv.row<In>(task_.first_row + key + i) + v_col, to, args_.v_dim);
                } else {
                    std::fill(to, to + args_.v_dim, T{});
                }
            }
            for (std::int64_t col = 0; col < v_width_; col += kPanelCols) {
                interleave_into_panel(plain + col, v_width_, values_ + col * num_keys_ + key * kPanelCols);
            }
        }
    }

    /// Keys that the six rows from `row` on may see together.
    static std::int64_t seen_by_tile(std::int64_t row, const Range& block) {
        return std::min(row + kTileRows, block.end);
    }

    void score(const Range& block) {
        T* queries = room_.queries.room_for<T>(kBlockRows * depth_);
        for (std::int64_t row = block.begin; row < block.end; ++row) {
            T* to = queries + (row - block.begin) * depth_;
            prefetch(x_.q.row<In>(row_ahead(row)) + task_.head * x_.q_width(), x_.q_width());
            copy_elements(x_.q.row<In>(task_.first_row + row) + task_.head * x_.q_width(), to, x_.q_width());
            std::fill(to + x_.q_width(), to + depth_, T{});
        }
        std::fill(queries + block.size() * depth_, queries + round_up(block.size(), kTileRows) * depth_, T{});
        scores_ = room_.scores.room_for<float>(kBlockRows * num_keys_);
        for (std::int64_t panel = 0; panel < block.end; panel += kPanelCols) {
            for (std::int64_t row = block.begin; row < block.end; row += kTileRows) {
                const std::int64_t seen = std::min(seen_by_tile(row, block) - panel, kPanelCols);
                if (seen <= 0) continue;
                const std::int64_t tile = row - block.begin;
                multiply_tile(queries + tile * depth_, depth_, keys_ + panel * depth_, depth_,
                              scores_ + tile * num_keys_ + panel, num_keys_, round_up(seen, kLanes) / kLanes,
                              false);
            }
        }
    }

    /// Probabilities rounded to the operands' dtype; zero for keys that only later rows of the tile see.
    void softmax(const Range& block) {
        probabilities_ = room_.probabilities.room_for<T>(kBlockRows * num_keys_);
        for (std::int64_t row = block.begin; row < block.end; ++row) {
            float* s = scores_ + (row - block.begin) * num_keys_;
            T* p = probabilities_ + (row - block.begin) * num_keys_;
            const std::int64_t tile_row = row - (row - block.begin) % kTileRows;
            softmax_row(s, p, row + 1, round_up(seen_by_tile(tile_row, block), kDepthPack<T>),
                        static_cast<float>(args_.scale));
        }
    }

    static void softmax_row(float* s, T* p, std::int64_t num_seen, std::int64_t num_filled, float scale) {
        vectorised([=]() EPS_INLINE {
            float largest = s[0];
#pragma omp simd reduction(max : largest)
            for (std::int64_t i = 0; i < num_seen; ++i) largest = s[i] > largest ? s[i] : largest;
            float sum = 0;
#pragma omp simd reduction(+ : sum)
            for (std::int64_t i = 0; i < num_seen; ++i) {
                s[i] = exp_f32((s[i] - largest) * scale);
                sum += s[i];
            }
            const float inverse = 1.0F / sum;
#pragma omp simd
            for (std::int64_t i = 0; i < num_seen; ++i) store(p + i, rounded<In>(s[i] * inverse));
            for (std::int64_t i = num_seen; i < num_filled; ++i) p[i] = T{};
        });
    }

    void weigh_values(const Range& block) {
        float* sums = room_.sums.room_for<float>(kBlockRows * v_width_);
        for (std::int64_t col = 0; col < args_.v_dim; col += kPanelCols) {
            const std::int64_t num_vectors =
                round_up(std::min(kPanelCols, args_.v_dim - col), kLanes) / kLanes;
            for (std::int64_t row = block.begin; row < block.end; row += kTileRows) {
                const std::int64_t depth = round_up(seen_by_tile(row, block), kDepthPack<T>);
                const std::int64_t tile = row - block.begin;
                multiply_tile(probabilities_ + tile * num_keys_, num_keys_, values_ + col * num_keys_, depth,
                              sums + tile * v_width_ + col, v_width_, num_vectors, false);
            }
        }
        for (std::int64_t row = block.begin; row < block.end; ++row) {
            write_row(sums + (row - block.begin) * v_width_,
                      x_.out.row<In>(task_.first_row + row) + task_.head * args_.v_dim);
        }
    }

    void write_row(const float* sums, In* to) const {
        const std::int64_t count = args_.v_dim;
        vectorised([=]() EPS_INLINE {
#pragma omp simd
            for (std::int64_t i = 0; i < count; ++i) store(to + i, sums[i]);
        });
    }

    const AttentionOperands& x_;
    const AttentionArgs& args_;
    AttentionTask task_;
    AttentionRoom& room_;
    std::int64_t depth_;     // of scores, padded
    std::int64_t num_keys_;  // padded to whole panels
    std::int64_t v_width_;   // padded to whole panels
    T* keys_ = nullptr;
    T* values_ = nullptr;
    float* scores_ = nullptr;
    T* probabilities_ = nullptr;
};

}  // namespace eps::kernels::cpu
