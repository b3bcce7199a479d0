#include "validate/weights.hpp"

#include "validate/arithmetic.hpp"

#include <algorithm>

#include <fmt/format.h>

namespace eps::validate {

std::string layer_tensor(std::int64_t layer, const std::string& tensor) {
    return fmt::format("model.layers.{}.{}", layer, tensor);
}

Weights::Weights(const checkpoint::WeightSource& source, DType dtype, int threads)
    : source_(source), dtype_(dtype), threads_(std::max(threads, 1)) {}

std::vector<float> Weights::vector(const std::string& name, std::int64_t size) const {
    return rows(name, {0, 1}, size);
}

std::vector<float> Weights::rows(const std::string& name, Range rows, std::int64_t num_cols) const {
    std::vector<float> values(static_cast<std::size_t>(rows.size() * num_cols));
    auto* data = reinterpret_cast<std::byte*>(values.data());
    source_.read(name, rows, {0, num_cols}, {data, DType::f32, rows.size(), num_cols, num_cols});
    for (float& v : values) v = rounded_to(dtype_, v);
    return values;
}

std::vector<float> Weights::project(const std::string& name, std::int64_t num_out, std::span<const float> x,
                                    std::int64_t num_in) const {
    constexpr std::int64_t kValuesAtOnce =
        1 << 18;  // 1 MiB of weights stays in cache while all rows of x pass by
    constexpr std::int64_t kFlopsOfAThread = 1 << 22;
    const std::int64_t num_rows = static_cast<std::int64_t>(x.size()) / num_in;
    std::vector<float> out(static_cast<std::size_t>(num_rows * num_out));
    if (num_rows == 0) return out;

    const std::int64_t block = std::max<std::int64_t>(kValuesAtOnce / num_in, 1);
    const std::int64_t useful_threads = 1 + 2 * num_rows * num_out * num_in / kFlopsOfAThread;
    for_parts(num_out, static_cast<int>(std::min<std::int64_t>(threads_, useful_threads)), [&](Range part) {
        for (std::int64_t first = part.begin; first < part.end; first += block) {
            const Range outs{first, std::min(first + block, part.end)};
            const std::vector<float> w = rows(name, outs, num_in);
            for (std::int64_t o = 0; o < outs.size(); ++o)
                for (std::int64_t r = 0; r < num_rows; ++r)
                    out[static_cast<std::size_t>(r * num_out + first + o)] =
                        static_cast<float>(dot(x.data() + r * num_in, w.data() + o * num_in, num_in));
        }
    });
    return out;
}

std::vector<float> Weights::project_with_bias(const std::string& name, const std::string& bias,
                                              std::int64_t num_out, std::span<const float> x,
                                              std::int64_t num_in) const {
    std::vector<float> out = project(name, num_out, x, num_in);
    const std::vector<float> b = vector(bias, num_out);
    for (std::size_t i = 0; i < out.size(); ++i) out[i] += b[i % b.size()];
    return out;
}

}  // namespace eps::validate
