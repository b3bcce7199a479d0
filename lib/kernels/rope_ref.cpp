// Twin of rope.
#include "kernels/element.hpp"
#include "kernels/reference_ops.hpp"
#include "kernels/require.hpp"

#include <cmath>

namespace eps::kernels::reference {

void rope(Rows x, std::span<const std::int32_t> positions, const RopeTable& table, std::int64_t num_heads,
          std::int64_t head_stride, std::int64_t offset, int) {
    require(positions.size() == static_cast<std::size_t>(x.num_rows), "rope", "one position a row", x, x);
    for (std::int64_t row = 0; row < x.num_rows; ++row) {
        for (std::int64_t head = 0; head < num_heads; ++head) {
            std::int64_t col = head * head_stride + offset;
            for (const double inverse_frequency : table.inverse_frequencies) {
                const double angle = positions[static_cast<std::size_t>(row)] * inverse_frequency;
                const auto cosine = static_cast<float>(std::cos(angle) * table.cos_sin_factor);
                const auto sine = static_cast<float>(std::sin(angle) * table.cos_sin_factor);
                const float a = get(x, row, col);
                const float b = get(x, row, col + 1);
                set(x, row, col, a * cosine - b * sine);
                set(x, row, col + 1, a * sine + b * cosine);
                col += 2;
            }
        }
    }
}

}  // namespace eps::kernels::reference
