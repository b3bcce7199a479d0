// Rates of the fast kernels at real shapes, one line per shape: op, dtype, shape, time, GFLOP/s or GB/s.
//   bench_kernels [threads] [text that the line must contain, with a "[" for the ops over rows]
#include "base/random.hpp"
#include "kernels/cpu/ops.hpp"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <numeric>
#include <string>
#include <vector>

#include <fmt/format.h>

namespace {

using namespace eps;
using namespace eps::kernels;

int threads = 2;
std::string filter;

/// Rows that own their elements, filled with normals.
struct Matrix {
    std::vector<std::byte> storage;
    Rows rows;

    Matrix(DType dtype, std::int64_t num_rows, std::int64_t num_cols)
        : storage(static_cast<std::size_t>(num_rows * num_cols * bytes_of(dtype))),
          rows{storage.data(), dtype, num_rows, num_cols, num_cols} {
        with_float_type(dtype, [&]<typename T>() {
            for (std::int64_t i = 0; i < num_rows * num_cols; ++i) {
                rows.row<T>(0)[i] = static_cast<T>(random_normal(7, static_cast<std::uint64_t>(i)));
            }
        });
    }
};

bool wanted(const std::string& what) {
    return what.find(filter) != std::string::npos;
}

/// Best and median of repetitions within half a second, after one warm-up.
template <typename F>
void measure(const std::string& what, double work, const char* unit, F&& f) {
    if (!wanted(what)) return;
    f();
    std::vector<double> times;
    double total = 0;
    while (times.size() < 7 || (total < 0.5 && times.size() < 1000)) {
        const auto start = std::chrono::steady_clock::now();
        f();
        times.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
        total += times.back();
    }
    std::sort(times.begin(), times.end());
    const double median = times[times.size() / 2];
    fmt::print("{:<58} {:>10.1f} us  best {:>10.1f} us  {:>8.1f} {}\n", what, median * 1e6,
               times.front() * 1e6, work / median / 1e9, unit);
}

void bench_linear(DType dtype) {
    const std::int64_t shapes[][3] = {{1, 2048, 2048},    {24, 64, 64},      {512, 576, 2048},
                                      {512, 3072, 2048},  {512, 4096, 512},  {512, 2048, 2048},
                                      {64, 2816, 2048},   {64, 2048, 1408},  {512, 21888, 2048},
                                      {512, 2048, 10944}, {512, 1536, 5120}, {512, 24576, 1536}};
    for (const auto& [m, n, k] : shapes) {
        const std::string what = fmt::format("linear {} m {} n {} k {}", name_of(dtype), m, n, k);
        if (!wanted(what)) continue;
        const Matrix in(dtype, m, k);
        const Matrix weight(dtype, n, k);
        const Matrix out(dtype, m, n);
        const auto packed = cpu_kernels().pack(weight.rows);
        measure(what, 2 * static_cast<double>(m) * static_cast<double>(n * k), "GFLOP/s",
                [&] { cpu_kernels().linear(in.rows, *packed, nullptr, out.rows, threads); });
    }
}

void bench_experts(DType dtype) {
    const std::int64_t n = 2816;
    const std::int64_t k = 2048;
    constexpr std::int64_t kNumExperts = 16;
    const Matrix weight(dtype, n, k);
    std::vector<std::unique_ptr<GemmWeight>> packed;
    for (std::int64_t e = 0; e < kNumExperts; ++e) packed.push_back(cpu_kernels().pack(weight.rows));
    for (const std::int64_t rows_each : {4, 16, 48, 192}) {
        const std::int64_t m = rows_each * kNumExperts;
        const Matrix in(dtype, m, k);
        const Matrix out(dtype, m, n);
        std::vector<ExpertRows> experts;
        for (std::int64_t e = 0; e < kNumExperts; ++e) {
            experts.push_back(
                {packed[static_cast<std::size_t>(e)].get(), {e * rows_each, (e + 1) * rows_each}});
        }
        for (const GemmKind kind : {GemmKind::dense, GemmKind::group}) {
            measure(fmt::format("expert_gemm {} {} {} x m {} n {} k {}",
                                kind == GemmKind::dense ? "dense" : "group", name_of(dtype), kNumExperts,
                                rows_each, n, k),
                    2 * static_cast<double>(m) * static_cast<double>(n * k), "GFLOP/s",
                    [&] { cpu_kernels().expert_gemm(in.rows, experts, kind, out.rows, threads); });
        }
    }
}

void bench_attention(DType dtype) {
    const std::int64_t shapes[][3] = {{16, 1, 512},  {16, 4, 128}, {16, 1, 2048},
                                      {128, 1, 512}, {1, 1, 2048}, {4, 2, 24}};
    for (const auto& [heads, batch, length] : shapes) {
        const std::string what =
            fmt::format("attention {} heads {} batch {} length {}", name_of(dtype), heads, batch, length);
        if (!wanted(what)) continue;
        const AttentionArgs args{
            .num_heads = heads, .nope_dim = 128, .rope_dim = 64, .v_dim = 128, .scale = 0.1};
        const std::int64_t tokens = batch * length;
        const Matrix q(dtype, tokens, heads * 192);
        const Matrix kv(dtype, tokens, heads * 256);
        const Matrix k_rope(dtype, tokens, 64);
        const Matrix out(dtype, tokens, heads * 128);
        std::vector<std::int64_t> starts;
        for (std::int64_t s = 0; s <= batch; ++s) starts.push_back(s * length);
        const auto pairs = static_cast<double>(batch * heads * length * (length + 1) / 2);
        measure(what, pairs * 2 * (192 + 128), "GFLOP/s", [&] {
            cpu_kernels().attention(q.rows, kv.rows, k_rope.rows, starts, args, out.rows, threads);
        });
    }
}

void bench_gate(DType dtype) {
    const std::int64_t shapes[][3] = {{1024, 5120, 160}, {512, 2048, 64}, {24, 2048, 64}, {24, 64, 16}};
    for (const auto& [tokens, hidden, num_experts] : shapes) {
        const std::string what = fmt::format("gate {} tokens {} hidden {} experts {}", name_of(dtype), tokens,
                                             hidden, num_experts);
        if (!wanted(what)) continue;
        const Matrix in(dtype, tokens, hidden);
        const Matrix weight(dtype, num_experts, hidden);
        const GateArgs args{.top_k = 6, .n_group = num_experts == 160 ? 8 : 1, .topk_group = 3};
        std::vector<std::int32_t> ids(static_cast<std::size_t>(tokens * args.top_k));
        std::vector<float> weights(ids.size());
        measure(fmt::format("gate {} tokens {} hidden {} experts {}", name_of(dtype), tokens, hidden,
                            num_experts),
                2 * static_cast<double>(tokens) * static_cast<double>(hidden * num_experts), "GFLOP/s",
                [&] { cpu_kernels().gate(in.rows, weight.rows, args, ids.data(), weights.data(), threads); });
    }
}

void bench_row_ops(DType dtype) {
    const std::int64_t shapes[][2] = {{1, 2048}, {24, 64}, {512, 2048}, {512, 5120}, {4096, 5120}};
    for (const auto& [tokens, hidden] : shapes) {
        const Matrix in(dtype, tokens, 2 * hidden);
        const Rows left = in.rows.columns(0, hidden);
        const Matrix residual(dtype, tokens, hidden);
        const Matrix weight(dtype, 1, hidden);
        const Matrix out(dtype, tokens, hidden);
        const std::string shape = fmt::format("{} [{}, {}]", name_of(dtype), tokens, hidden);
        const auto row_bytes = static_cast<double>(tokens * hidden * bytes_of(dtype));
        const Kernels& fast = cpu_kernels();
        measure("rms_norm " + shape, 2 * row_bytes, "GB/s",
                [&] { fast.rms_norm(left, weight.rows, 1e-6, out.rows, threads); });
        measure("swiglu " + shape, 3 * row_bytes, "GB/s", [&] { fast.swiglu(in.rows, out.rows, threads); });

        constexpr std::int64_t kTopK = 6;
        std::vector<std::int32_t> starts;
        for (std::int64_t i = 0; i <= tokens; ++i) starts.push_back(static_cast<std::int32_t>(i * kTopK));
        std::vector<std::int32_t> index(static_cast<std::size_t>(tokens * kTopK));
        for (std::size_t i = 0; i < index.size(); ++i) {
            index[i] = static_cast<std::int32_t>(random_bits(3, i) % static_cast<std::uint64_t>(tokens));
        }
        const std::vector<float> weights(index.size(), 0.3F);
        measure("pack_rows " + shape, 2 * row_bytes, "GB/s", [&] {
            fast.pack_rows(left, std::span(index).first(static_cast<std::size_t>(tokens)), out.rows, threads);
        });
        measure("local_reduce of 6 " + shape, (kTopK + 1) * row_bytes, "GB/s",
                [&] { fast.local_reduce(left, starts, index, weights, out.rows, threads); });
        measure("unpack_sum of 6 + 2 " + shape, (kTopK + 3) * row_bytes, "GB/s",
                [&] { fast.unpack_sum(left, starts, index, &left, &residual.rows, out.rows, threads); });
        const std::vector<Rows> parts{left, residual.rows, left, residual.rows};
        measure("sum_rows of 4 " + shape, 5 * row_bytes, "GB/s",
                [&] { fast.sum_rows(parts, out.rows, threads); });
    }
}

void bench_rope(DType dtype) {
    RopeTable table;
    for (int i = 0; i < 32; ++i) table.inverse_frequencies.push_back(1.0 / (1 + i));
    for (const auto& [tokens, heads] :
         {std::pair<std::int64_t, std::int64_t>{512, 16}, {512, 128}, {512, 1}, {24, 4}}) {
        const Matrix x(dtype, tokens, heads * 192);
        std::vector<std::int32_t> positions(static_cast<std::size_t>(tokens));
        std::iota(positions.begin(), positions.end(), 0);
        measure(fmt::format("rope {} tokens {} heads {}", name_of(dtype), tokens, heads),
                static_cast<double>(2 * tokens * heads * 64 * bytes_of(dtype)), "GB/s",
                [&] { cpu_kernels().rope(x.rows, positions, table, heads, 192, 128, threads); });
    }
}

}  // namespace

int main(int argc, char** argv) {
    if (argc > 1) threads = std::atoi(argv[1]);
    if (argc > 2) filter = argv[2];
    fmt::print("{}, {} threads; f32: {}; bf16: {}\n", cpu_kernels().name, threads,
               cpu_kernels().describe_gemm(DType::f32), cpu_kernels().describe_gemm(DType::bf16));
    for (const DType dtype : {DType::f32, DType::bf16}) {
        bench_linear(dtype);
        bench_attention(dtype);
        bench_gate(dtype);
        if (filter.empty() || filter.starts_with("expert_gemm")) bench_experts(dtype);
        if (filter.empty() || filter.find("[") != std::string::npos) bench_row_ops(dtype);
        if (filter.empty() || filter.starts_with("rope")) bench_rope(dtype);
    }
}
