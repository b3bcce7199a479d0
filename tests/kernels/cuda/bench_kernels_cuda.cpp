// Rates of the memory-bound device kernels at DeepSeek-V2's sizes, beside a copy of device memory: op, bytes,
// time, GB/s, per cent of the copy.
//   bench_kernels_cuda [rows] [columns]
#include "kernels/cuda/kernels.hpp"
#include "kernels/cuda/maps.hpp"

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include <cuda_runtime.h>
#include <fmt/format.h>

namespace {

using namespace eps;

void require(cudaError_t error) {
    if (error == cudaSuccess) return;
    fmt::print(stderr, "bench_kernels_cuda: {}\n", cudaGetErrorString(error));
    std::exit(1);
}

template <typename T>
T* allocate(std::int64_t count) {
    T* data = nullptr;
    require(cudaMalloc(reinterpret_cast<void**>(&data), static_cast<std::size_t>(count) * sizeof(T)));
    return data;
}

Rows normal_rows(std::int64_t num_rows, std::int64_t num_cols) {
    Rows rows{reinterpret_cast<std::byte*>(allocate<std::uint16_t>(num_rows * num_cols)), DType::bf16,
              num_rows, num_cols, num_cols};
    kernels::device::fill_normal(nullptr, 1, 0, 1, num_cols, 0, 0, rows);
    return rows;
}

/// Median seconds of one launch: sets of 20 between events, until half a second has passed.
double seconds_of(const std::function<void()>& launch) {
    constexpr int kLaunches = 20;
    cudaEvent_t begin, end;
    require(cudaEventCreate(&begin));
    require(cudaEventCreate(&end));
    std::vector<double> samples;
    double total = 0;
    launch();
    while (total < 0.5 || samples.size() < 5) {
        require(cudaEventRecord(begin));
        for (int i = 0; i < kLaunches; ++i) launch();
        require(cudaEventRecord(end));
        require(cudaEventSynchronize(end));
        float milliseconds = 0;
        require(cudaEventElapsedTime(&milliseconds, begin, end));
        samples.push_back(milliseconds * 1e-3 / kLaunches);
        total += milliseconds * 1e-3;
    }
    std::sort(samples.begin(), samples.end());
    return samples[samples.size() / 2];
}

double copy_rate = 0;

void tell(const std::string& op, double bytes, const std::function<void()>& launch) {
    const double seconds = seconds_of(launch);
    const double rate = bytes / seconds;
    if (copy_rate == 0) copy_rate = rate;
    fmt::print("{:<34} {:>9.1f} MB {:>9.1f} us {:>8.0f} GB/s {:>6.1f} % of copy\n", op, bytes / 1e6,
               seconds * 1e6, rate / 1e9, 100 * rate / copy_rate);
}

}  // namespace

int main(int argc, char** argv) {
    using namespace kernels::device;
    const std::int64_t rows = argc > 1 ? std::atoll(argv[1]) : 16384;
    const std::int64_t cols = argc > 2 ? std::atoll(argv[2]) : 5120;
    const std::int64_t width = 1536, top_k = 6, experts = 160;
    const auto size = static_cast<double>(2 * rows * cols);
    cudaDeviceProp device;
    require(cudaGetDeviceProperties(&device, 0));
    fmt::print("{}, {} rows of {} bf16\n", device.name, rows, cols);

    const Rows a = normal_rows(rows, cols), b = normal_rows(rows, cols), c = normal_rows(rows, cols);
    const Rows weight = normal_rows(1, cols);
    tell("copy", 2 * size, [&] {
        require(cudaMemcpyAsync(b.data, a.data, static_cast<std::size_t>(size), cudaMemcpyDeviceToDevice,
                                nullptr));
    });
    tell("rms_norm", 2 * size, [&] { rms_norm(nullptr, a, weight, 1e-6, b); });
    tell("add_bias", 2 * size, [&] { add_bias(nullptr, weight, b); });

    std::vector<std::int32_t> order, starts{0}, index;
    std::vector<float> weights;
    const std::int64_t expert_rows = rows * top_k / 4;  // of which every rank of four computes a quarter
    for (std::int64_t i = 0; i < rows; ++i) order.push_back(static_cast<std::int32_t>((i * 7919) % rows));
    for (std::int64_t i = 0; i < rows; ++i) {
        for (std::int64_t j = 0; j < 2; ++j) {
            index.push_back(static_cast<std::int32_t>((i * 7919 + j * 104729) % rows));
            weights.push_back(0.5F);
        }
        starts.push_back(static_cast<std::int32_t>(index.size()));
    }
    const auto upload = [](const auto& values) {
        using T = typename std::decay_t<decltype(values)>::value_type;
        T* data = allocate<T>(std::ssize(values));
        require(cudaMemcpy(data, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice));
        return data;
    };
    const std::int32_t* d_order = upload(order);
    const std::int32_t* d_starts = upload(starts);
    const std::int32_t* d_index = upload(index);
    const float* d_weights = upload(weights);
    tell("gather_rows", 2 * size, [&] { gather_rows(nullptr, a, d_order, b); });
    tell("local_reduce of 2", 3 * size, [&] { local_reduce(nullptr, a, d_starts, d_index, d_weights, b); });
    tell("unpack_sum of 2 + shared + residual", 5 * size,
         [&] { unpack_sum(nullptr, a, d_starts, d_index, &c, &b, b); });
    tell("sum_rows of 2", 3 * size, [&] { sum_rows(nullptr, std::vector<Rows>{a, c}, b); });

    const Rows up = normal_rows(expert_rows, 2 * width), act = normal_rows(expert_rows, width);
    tell("swiglu [" + std::to_string(expert_rows) + ", 3072]",
         static_cast<double>(3 * 2 * expert_rows * width), [&] { swiglu(nullptr, up, act); });

    const std::int64_t heads = 128;
    const Rows q = normal_rows(rows, heads * 192);
    float* angles = allocate<float>(rows * 64);
    require(cudaMemset(angles, 0, static_cast<std::size_t>(rows * 64) * 4));
    tell("rope of 128 heads", static_cast<double>(2 * 2 * rows * heads * 64),
         [&] { rope(nullptr, q, d_order, angles, 32, heads, 192, 128); });

    float* logits = allocate<float>(rows * experts);
    require(cudaMemset(logits, 0, static_cast<std::size_t>(rows * experts) * 4));
    std::int32_t* ids = allocate<std::int32_t>(rows * top_k);
    float* scores = allocate<float>(rows * top_k);
    const kernels::GateArgs gate{.top_k = top_k, .n_group = 8, .topk_group = 3};
    const Rows gate_weight = normal_rows(experts, cols);
    tell("gate_logits, plain (bytes of rows)", size, [&] { gate_logits(nullptr, a, gate_weight, logits); });
    tell("gate_choice (bytes of logits)", static_cast<double>(4 * rows * experts),
         [&] { gate_choice(nullptr, logits, rows, experts, gate, ids, scores); });
    tell("fill_normal", size, [&] { fill_normal(nullptr, 1, 0, 1, cols, 0, 0, b); });

    // Maps of 4 ranks that choose alike, 10 chunks.
    std::vector<std::int32_t> choices, part_begin{0, 40, 80, 120, 160}, bounds;
    for (std::int64_t i = 0; i < rows; ++i)
        for (std::int64_t j = 0; j < top_k; ++j)
            choices.push_back(static_cast<std::int32_t>((i * 7919 + j * (25 + i % 3)) % experts));
    for (std::int32_t p = 0; p < 4; ++p)
        for (std::int32_t n = 0; n <= 10; ++n) bounds.push_back(40 * p + 4 * n);
    const Block block{.num_experts = experts,
                      .num_parts = 4,
                      .top_k = top_k,
                      .num_chunks = 10,
                      .part_begin = upload(part_begin),
                      .chunk_bounds = upload(bounds)};
    const std::int32_t* d_choices = upload(choices);
    std::int32_t* counts = allocate<std::int32_t>(4 * experts * 3);
    std::int32_t* send_order = allocate<std::int32_t>(rows * top_k);
    std::int32_t* slots = allocate<std::int32_t>(4 * rows * top_k * 13);
    auto* workspace = allocate<std::byte>(static_cast<std::int64_t>(map_workspace_bytes(block, rows, 4)));
    std::int32_t* home_starts = allocate<std::int32_t>(4 * rows + 1);
    std::int32_t* home_index = allocate<std::int32_t>(4 * rows * top_k);
    float* entry_weights = allocate<float>(4 * rows * top_k);
    std::int32_t* expert_order = allocate<std::int32_t>(4 * rows * top_k);
    const auto ids_bytes = static_cast<double>(4 * rows * top_k);
    tell("route (bytes of ids)", ids_bytes,
         [&] { route(nullptr, block, d_choices, scores, rows, counts, send_order, slots, workspace); });
    tell("map_home (bytes of ids)", ids_bytes,
         [&] { map_home(nullptr, block, d_choices, rows, home_starts, home_index, workspace); });
    // What arrives at rank 0: the first part of what every rank sends.
    std::vector<std::int32_t> host_counts(static_cast<std::size_t>(experts * 3));
    require(cudaMemcpy(host_counts.data(), counts, host_counts.size() * 4, cudaMemcpyDeviceToHost));
    std::int64_t arrived = 0, home = 0;
    for (std::size_t e = 0; e < 40; ++e) {
        arrived += host_counts[3 * e + 1];
        home += host_counts[3 * e + 2];
    }
    for (std::int64_t s = 1; s < 4; ++s) {
        require(
            cudaMemcpy(counts + s * experts * 3, counts, host_counts.size() * 4, cudaMemcpyDeviceToDevice));
        require(cudaMemcpy(slots + s * arrived * 13, slots, static_cast<std::size_t>(arrived * 13) * 4,
                           cudaMemcpyDeviceToDevice));
    }
    tell("map_rows (bytes of slots)", static_cast<double>(4 * arrived * 13 * 4), [&] {
        map_rows(nullptr, block, 0, counts, 4, slots, 4 * arrived, rows, 4 * home, expert_order,
                 {home_starts, home_index, entry_weights}, workspace);
    });
}
