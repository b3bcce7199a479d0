// rope: rotation by tabulated cosines and sines. They take far longer to compute than to use, and every layer
// of every pass asks for the same ones: a table is made once and grows with the largest position seen.
#include "kernels/cpu/ops.hpp"
#include "kernels/cpu/parallel.hpp"
#include "kernels/cpu/simd.hpp"
#include "kernels/require.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <memory>
#include <mutex>
#include <vector>

namespace eps::kernels::cpu {
namespace {

/// cosines and sines [position][pair] of positions 0 .. num_positions - 1.
struct Angles {
    RopeTable source;
    std::int64_t num_positions = 0;
    std::vector<float> cosines;
    std::vector<float> sines;
};

std::shared_ptr<const Angles> make_angles(const RopeTable& source, std::int64_t num_positions) {
    auto angles = std::make_shared<Angles>();
    angles->source = source;
    angles->num_positions = num_positions;
    for (std::int64_t position = 0; position < num_positions; ++position) {
        for (const double inverse_frequency : source.inverse_frequencies) {
            const double angle = static_cast<double>(position) * inverse_frequency;
            angles->cosines.push_back(static_cast<float>(std::cos(angle) * source.cos_sin_factor));
            angles->sines.push_back(static_cast<float>(std::sin(angle) * source.cos_sin_factor));
        }
    }
    return angles;
}

/// The angles of `source` up to `last_position`, shared by all threads.
std::shared_ptr<const Angles> angles_of(const RopeTable& source, std::int64_t last_position) {
    static std::mutex mutex;
    static std::vector<std::shared_ptr<const Angles>> known;  // one for each model of the run
    const std::lock_guard lock(mutex);
    const auto found = std::find_if(known.begin(), known.end(), [&](const auto& angles) {
        return angles->source.cos_sin_factor == source.cos_sin_factor &&
               angles->source.inverse_frequencies == source.inverse_frequencies;
    });
    if (found != known.end() && (*found)->num_positions > last_position) return *found;
    const auto room = std::bit_ceil(static_cast<std::uint64_t>(last_position) + 1);
    auto angles = make_angles(source, static_cast<std::int64_t>(room));
    if (found != known.end())
        *found = angles;
    else
        known.push_back(angles);
    return angles;
}

struct Heads {
    std::int64_t num_heads;
    std::int64_t stride;
    std::int64_t offset;
};

template <typename T>
void rope_rows(Rows x, const std::int32_t* positions, const float* cosines, const float* sines,
               std::int64_t num_pairs, Heads heads, std::int64_t begin, std::int64_t end) {
    vectorised([=]() EPS_INLINE {
        for (std::int64_t row = begin; row < end; ++row) {
            const float* cosine = cosines + positions[row] * num_pairs;
            const float* sine = sines + positions[row] * num_pairs;
            for (std::int64_t head = 0; head < heads.num_heads; ++head) {
                T* pairs = x.row<T>(row) + head * heads.stride + heads.offset;
#pragma omp simd
                for (std::int64_t i = 0; i < num_pairs; ++i) {
                    const float a = load(pairs + 2 * i);
                    const float b = load(pairs + 2 * i + 1);
                    store(pairs + 2 * i, a * cosine[i] - b * sine[i]);
                    store(pairs + 2 * i + 1, a * sine[i] + b * cosine[i]);
                }
            }
        }
    });
}

}  // namespace

void rope(Rows x, std::span<const std::int32_t> positions, const RopeTable& table, std::int64_t num_heads,
          std::int64_t head_stride, std::int64_t offset, int threads) {
    require(positions.size() == static_cast<std::size_t>(x.num_rows), "rope", "one position a row", x, x);
    const auto num_pairs = static_cast<std::int64_t>(table.inverse_frequencies.size());
    if (x.num_rows == 0 || num_heads == 0 || num_pairs == 0) return;
    require((num_heads - 1) * head_stride + offset + 2 * num_pairs <= x.num_cols, "rope",
            "heads within the row", x, x);
    const auto [first, last] = std::minmax_element(positions.begin(), positions.end());
    require(*first >= 0, "rope", "positions from 0", x, x);
    const std::shared_ptr<const Angles> angles = angles_of(table, *last);
    const std::int64_t row_bytes = 4 * num_heads * num_pairs * bytes_of(x.dtype);
    for_row_blocks(x.num_rows, row_bytes, threads, [&](std::int64_t begin, std::int64_t end) {
        with_float_type(x.dtype, [&]<typename T>() {
            rope_rows<T>(x, positions.data(), angles->cosines.data(), angles->sines.data(), num_pairs,
                         {num_heads, head_stride, offset}, begin, end);
        });
    });
}

}  // namespace eps::kernels::cpu
