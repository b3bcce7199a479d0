#include "workload/batch.hpp"

#include "base/random.hpp"

#include <algorithm>

namespace eps::workload {

Batch::Batch(std::vector<std::int64_t> sequence_lengths)
    : lengths(std::move(sequence_lengths)), starts(1, 0) {
    for (const std::int64_t length : lengths) starts.push_back(starts.back() + length);
}

std::int64_t Batch::longest() const {
    return lengths.empty() ? 0 : *std::max_element(lengths.begin(), lengths.end());
}

std::int64_t Batch::sequence_of(std::int64_t token) const {
    return std::upper_bound(starts.begin(), starts.end(), token) - starts.begin() - 1;
}

Range Batch::tokens_of(std::int64_t sequence) const {
    const auto i = static_cast<std::size_t>(sequence);
    return {starts[i], starts[i + 1]};
}

void write_positions(const Batch& batch, Range tokens, std::span<std::int32_t> out) {
    if (tokens.empty()) return;
    Range of_sequence = batch.tokens_of(batch.sequence_of(tokens.begin));
    for (std::int64_t token = tokens.begin; token < tokens.end; ++token) {
        if (token == of_sequence.end) of_sequence = batch.tokens_of(batch.sequence_of(token));
        out[static_cast<std::size_t>(token - tokens.begin)] =
            static_cast<std::int32_t>(token - of_sequence.begin);
    }
}

void write_input_rows(std::uint64_t seed, Range tokens, Rows out) {
    const std::uint64_t key = stream_key(seed, "input");
    with_float_type(out.dtype, [&]<typename T>() {
        for (std::int64_t row_idx = 0; row_idx < tokens.size(); ++row_idx) {
            const std::int64_t first = (tokens.begin + row_idx) * out.num_cols;
            for (std::int64_t col = 0; col < out.num_cols; ++col)
                out.row<T>(row_idx)[col] = T(random_normal(key, static_cast<std::uint64_t>(first + col)));
        }
    });
}

}  // namespace eps::workload
