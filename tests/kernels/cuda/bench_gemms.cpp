// Sustained TFLOP/s of the products and of attention at DeepSeek-V2's sizes, random bf16 data: grouped and
// dense products against rows per expert, with SM budgets and skewed rows, the layer's projections, the
// gate's logits, attention by sequence length.
//   bench_gemms [seconds per figure] [experts]
#include "kernels/cuda/attention.hpp"
#include "kernels/cuda/gemms.hpp"
#include "tests/kernels/cuda/device_rows.hpp"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include <fmt/format.h>

namespace {

using namespace eps;
using namespace eps::kernels;

double seconds_per_figure = 0.4;

/// Seconds of one launch: runs for half the time unmeasured, then measures all of the other half.
double sustained_s(const std::function<void()>& launch) {
    cudaEvent_t begin, end;
    must(cudaEventCreate(&begin));
    must(cudaEventCreate(&end));
    const auto timed = [&](int launches) {
        must(cudaEventRecord(begin));
        for (int i = 0; i < launches; ++i) launch();
        must(cudaEventRecord(end));
        must(cudaEventSynchronize(end));
        float milliseconds = 0;
        must(cudaEventElapsedTime(&milliseconds, begin, end));
        return 1e-3 * double(milliseconds);
    };
    launch();
    const double once = std::max(timed(2) / 2, 1e-6);
    const int launches = std::clamp(static_cast<int>(seconds_per_figure / 2 / once), 2, 20000);
    timed(launches);
    const double seconds = timed(launches) / launches;
    must(cudaEventDestroy(begin));
    must(cudaEventDestroy(end));
    return seconds;
}

void tell(const std::string& what, double flops, const std::function<void()>& launch) {
    const double seconds = sustained_s(launch);
    fmt::print("{:<52} {:>10.1f} us {:>7.1f} TFLOP/s\n", what, seconds * 1e6, flops / seconds / 1e12);
    std::fflush(stdout);
}

/// Host time of a call, where the device has next to nothing to do.
void tell_host(const std::string& what, const std::function<void(int)>& call) {
    constexpr int kCalls = 100;
    must(cudaDeviceSynchronize());
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < kCalls; ++i) call(i);
    const std::chrono::duration<double, std::micro> elapsed = std::chrono::steady_clock::now() - begin;
    must(cudaDeviceSynchronize());
    fmt::print("{:<52} {:>10.1f} us of the host\n", what, elapsed.count() / kCalls);
}

/// `experts` ranges with `rows` each, or by turns nothing to twice as many.
std::vector<device::ExpertShare> shares_of(const Rows& weights, std::int64_t n, std::int64_t experts,
                                           std::int64_t rows, bool skewed) {
    std::vector<device::ExpertShare> shares;
    std::int64_t begin = 0;
    for (std::int64_t e = 0; e < experts; ++e) {
        const std::int64_t count = skewed ? 2 * rows * ((7 * e) % experts) / (experts - 1) : rows;
        shares.push_back({weights.slice(e * n, (e + 1) * n).data, {begin, begin + count}});
        begin += count;
    }
    return shares;
}

void bench_host(device::Gemms& gemms) {
    const DeviceRows in(DType::bf16, 4096, 512, 1), weight(DType::bf16, 4 * 512, 512, 2),
        out(DType::bf16, 4096, 512, 3);
    const Rows one = weight.rows().slice(0, 512);
    const auto shares = shares_of(weight, 512, 4, 16, false);
    gemms.linear(nullptr, in, one, nullptr, out);
    tell_host("linear, a new number of rows", [&](int i) {
        gemms.linear(nullptr, in.rows().slice(0, 1000 + i), one, nullptr, out.rows().slice(0, 1000 + i));
    });
    tell_host("linear, known", [&](int) { gemms.linear(nullptr, in, one, nullptr, out); });
    gemms.expert_gemm(nullptr, in, shares, GemmKind::group, out);
    tell_host("expert_gemm group",
              [&](int) { gemms.expert_gemm(nullptr, in, shares, GemmKind::group, out); });
    gemms.expert_gemm(nullptr, in, shares, GemmKind::dense, out);
    tell_host("expert_gemm dense of 4",
              [&](int) { gemms.expert_gemm(nullptr, in, shares, GemmKind::dense, out); });
}

/// Gate and up with SwiGLU behind them: by a kernel of its own, and in the product, whose weights may then
/// lie in any order here.
void bench_swiglu(device::Gemms& gemms, const Rows& in, const Rows& weights, const Rows& out,
                  std::int64_t experts) {
    const std::int64_t n = out.num_cols, rows = in.num_rows / experts;
    const auto shares = shares_of(weights, n, experts, rows, false);
    const DeviceRows act(DType::bf16, in.num_rows, n / 2, 4);
    const double flops = 2.0 * double(in.num_rows) * double(n) * double(in.num_cols);
    const auto name = [&](const char* how) {
        return fmt::format("n {} k {} m {:>4} {}", n, in.num_cols, rows, how);
    };
    tell(name("group, then swiglu"), flops, [&] {
        gemms.expert_gemm(nullptr, in, shares, GemmKind::group, out);
        device::swiglu(nullptr, out, act);
    });
    std::vector<std::byte> lists(static_cast<std::size_t>(gemms.lists_bytes()));
    gemms.begin_lists(lists.data());
    const auto listed =
        gemms.list(device::Gemms::kFirstList, in, shares, GemmKind::group, act, device::Then::swiglu);
    gemms.send_lists(nullptr);
    tell(name("group, swiglu in it"), flops, [&] { gemms.run(nullptr, listed.value()); });
}

void bench_experts(device::Gemms& gemms, std::int64_t n, std::int64_t k, std::int64_t experts) {
    const DeviceRows weights(DType::bf16, experts * n, k, 1, 0.02F);
    for (const std::int64_t rows : {128, 256, 512, 1024, 2048, 4096}) {
        const DeviceRows in(DType::bf16, experts * rows, k, 2), out(DType::bf16, experts * rows, n, 3);
        const auto figure = [&](const std::string& name, GemmKind kind, int num_sms, bool skewed) {
            const auto shares = shares_of(weights, n, experts, rows, skewed);
            const double flops = 2.0 * double(shares.back().rows.end) * double(n) * double(k);
            tell(fmt::format("n {} k {} m {:>4} {}", n, k, rows, name), flops,
                 [&] { gemms.expert_gemm(nullptr, in, shares, kind, out, num_sms); });
        };
        figure("group", GemmKind::group, 0, false);
        if (n < k) bench_swiglu(gemms, in, weights, out, experts);
        figure("dense", GemmKind::dense, 0, false);
        if (rows == 1024) {
            figure("group, skewed 0-2x", GemmKind::group, 0, true);
            for (const int num_sms : {120, 112}) {
                figure(fmt::format("group, {} SMs", num_sms), GemmKind::group, num_sms, false);
                figure(fmt::format("dense, {} SMs", num_sms), GemmKind::dense, num_sms, false);
            }
        }
    }
}

void bench_linear(device::Gemms& gemms, const std::string& name, std::int64_t m, std::int64_t n,
                  std::int64_t k, DType out_type) {
    const DeviceRows in(DType::bf16, m, k, 1), weight(DType::bf16, n, k, 2, 0.02F), out(out_type, m, n, 3);
    tell(fmt::format("{} [{}, {}] x [{}, {}]", name, m, k, n, k), 2.0 * double(m) * double(n) * double(k),
         [&] { gemms.linear(nullptr, in, weight, nullptr, out); });
}

void bench_attention(const std::string& name, const std::vector<std::int64_t>& starts) {
    const AttentionArgs args{
        .num_heads = 128, .nope_dim = 128, .rope_dim = 64, .v_dim = 128, .scale = 0.1147};
    const std::int64_t rows = starts.back();
    device::Attention attention(args, DType::bf16);
    const DeviceBytes scratch(attention.prepare(starts));
    const DeviceRows q(DType::bf16, rows, 128 * 192, 1), kv(DType::bf16, rows, 128 * 256, 2),
        kv_a(DType::bf16, rows, 576, 3), out(DType::bf16, rows, 128 * 128, 4),
        keys(DType::bf16, rows, 128 * 192, 5);
    const Rows k_rope = kv_a.rows().columns(512, 64);
    double flops = 0;
    for (std::size_t s = 0; s + 1 < starts.size(); ++s) {
        const auto length = double(starts[s + 1] - starts[s]);
        flops += 128 * length * length * (192 + 128);  // causal: half of 2 S^2 (dk + dv)
    }
    tell(fmt::format("attention, {}, {}", name, attention.describe()), flops,
         [&] { attention.run(nullptr, q, kv, k_rope, starts, out, scratch.get()); });
    tell_host("  a call", [&](int) { attention.run(nullptr, q, kv, k_rope, starts, out, scratch.get()); });
    tell("  of which keys", 0, [&] { device::assemble_keys(nullptr, kv, k_rope, args, keys); });
}

}  // namespace

int main(int argc, char** argv) {
    if (argc > 1) seconds_per_figure = std::atof(argv[1]);
    const std::int64_t experts = argc > 2 ? std::atoll(argv[2]) : 40;
    cudaDeviceProp properties;
    must(cudaGetDeviceProperties(&properties, 0));
    fmt::print("{}; {}; {} experts\n", properties.name, device::Gemms::describe(), experts);
    const DeviceBytes workspace(device::Gemms::workspace_bytes(experts));
    device::Gemms gemms(workspace.get(), experts);

    bench_host(gemms);
    bench_experts(gemms, 3072, 5120, experts);
    bench_experts(gemms, 5120, 1536, experts);

    const std::int64_t tokens = 16384;
    bench_linear(gemms, "q_a", tokens, 1536, 5120, DType::bf16);
    bench_linear(gemms, "q_b", tokens, 24576, 1536, DType::bf16);
    bench_linear(gemms, "kv_a", tokens, 576, 5120, DType::bf16);
    bench_linear(gemms, "kv_b", tokens, 32768, 512, DType::bf16);
    bench_linear(gemms, "o_proj", tokens, 5120, 16384, DType::bf16);
    bench_linear(gemms, "shared gate+up", tokens, 6144, 5120, DType::bf16);
    bench_linear(gemms, "shared down", tokens, 5120, 3072, DType::bf16);
    bench_linear(gemms, "logits", tokens, 160, 5120, DType::f32);

    std::vector<std::int64_t> by_1024, by_4096, by_1000, uneven{0};
    for (std::int64_t i = 0; i <= 16; ++i) by_1024.push_back(1024 * i);
    for (std::int64_t i = 0; i <= 4; ++i) by_4096.push_back(4096 * i);
    for (std::int64_t i = 0; i <= 16; ++i) by_1000.push_back(1000 * i);
    for (const std::int64_t length : {1, 8192, 100, 2048, 513, 4096, 1434})
        uneven.push_back(uneven.back() + length);
    bench_attention("16 x 1024", by_1024);
    bench_attention("4 x 4096", by_4096);
    bench_attention("16 x 1000", by_1000);
    bench_attention("7 lengths of 1 to 8192", uneven);
}
