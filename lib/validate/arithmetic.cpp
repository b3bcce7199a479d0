#include "validate/arithmetic.hpp"

#include <algorithm>
#include <cmath>
#include <exception>
#include <thread>

namespace eps::validate {

double dot(const float* a, const float* b, std::int64_t n) {
    constexpr std::int64_t kLanes = 8;  // independent sums, so that the compiler may use vector registers
    double lanes[kLanes] = {};
    std::int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes)
        for (std::int64_t l = 0; l < kLanes; ++l)
            lanes[l] += static_cast<double>(a[i + l]) * static_cast<double>(b[i + l]);
    for (; i < n; ++i) lanes[0] += static_cast<double>(a[i]) * static_cast<double>(b[i]);
    return ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) + ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
}

std::vector<float> rms_norm(std::span<const float> x, std::span<const float> weight, double eps) {
    const std::size_t n = weight.size();
    std::vector<float> out(x.size());
    for (std::size_t first = 0; first < x.size(); first += n) {
        const float* row = x.data() + first;
        const double mean = dot(row, row, static_cast<std::int64_t>(n)) / static_cast<double>(n);
        const double scale = 1 / std::sqrt(mean + eps);
        for (std::size_t j = 0; j < n; ++j) out[first + j] = static_cast<float>(weight[j] * (row[j] * scale));
    }
    return out;
}

std::vector<float> swiglu(std::span<const float> gate, std::span<const float> up) {
    std::vector<float> out(gate.size());
    for (std::size_t i = 0; i < gate.size(); ++i) {
        const double g = gate[i];
        out[i] = static_cast<float>(g / (1 + std::exp(-g)) * up[i]);
    }
    return out;
}

std::vector<float> sum(std::span<const float> a, std::span<const float> b) {
    std::vector<float> out(a.size());
    for (std::size_t i = 0; i < a.size(); ++i) out[i] = a[i] + b[i];
    return out;
}

void softmax(std::span<double> scores) {
    if (scores.empty()) return;
    const double largest = *std::max_element(scores.begin(), scores.end());
    double total = 0;
    for (double& s : scores) total += s = std::exp(s - largest);
    for (double& s : scores) s /= total;
}

std::vector<float> gathered(std::span<const float> x, std::int64_t num_cols,
                            std::span<const std::int64_t> rows) {
    std::vector<float> out;
    out.reserve(rows.size() * static_cast<std::size_t>(num_cols));
    for (const std::int64_t row : rows)
        out.insert(out.end(), x.begin() + row * num_cols, x.begin() + (row + 1) * num_cols);
    return out;
}

void for_parts(std::int64_t num_items, int threads, const std::function<void(Range)>& work) {
    const auto num_parts = std::min<std::int64_t>(threads, num_items);
    if (num_parts <= 1) {
        if (num_items > 0) work({0, num_items});
        return;
    }
    std::vector<std::exception_ptr> failures(static_cast<std::size_t>(num_parts));
    std::vector<std::thread> others;
    for (std::int64_t i = 0; i < num_parts; ++i) {
        others.emplace_back([&, i] {
            try {
                work(part_of(num_items, num_parts, i));
            } catch (...) {
                failures[static_cast<std::size_t>(i)] = std::current_exception();
            }
        });
    }
    for (std::thread& t : others) t.join();
    for (const std::exception_ptr& failure : failures)
        if (failure) std::rethrow_exception(failure);
}

}  // namespace eps::validate
