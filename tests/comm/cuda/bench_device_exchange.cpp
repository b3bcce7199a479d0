// All-to-all of device memory by every transport, alone and beside a GEMM, on any number of ranks:
// mpirun -n N bench_device_exchange [MB that a rank sends to all others together]...
// Beside it what 4 x H200 reached (one host, NVLink). Ranks that share a GPU measure that GPU's memory, no
// link.
#include "base/error.hpp"
#include "base/rows.hpp"
#include "comm/collectives.hpp"
#include "comm/cuda/windows.hpp"
#include "kernels/cuda/gemms.hpp"
#include "tests/comm/cuda/device_memory.hpp"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include <fmt/core.h>

namespace eps::comm::cuda {
namespace {

constexpr std::int64_t kMegabyte = 1'000'000;
constexpr std::int64_t kRowsM = 16384, kColsN = 9216, kDepthK = 5120;  // a GEMM of 1.55 TFLOP

struct Event {
    cudaEvent_t event = nullptr;
    Event() { require(cudaEventCreate(&event)); }
    ~Event() { cudaEventDestroy(event); }
    Event(const Event&) = delete;
    Event& operator=(const Event&) = delete;
    void record(cudaStream_t stream) const { require(cudaEventRecord(event, stream)); }
    double ms_since(const Event& begin) const {
        float ms = 0;
        require(cudaEventElapsedTime(&ms, begin.event, event));
        return static_cast<double>(ms);
    }
};

class Gemm {
  public:
    Gemm()
        : memory_((kRowsM * kDepthK + kColsN * kDepthK + kRowsM * kColsN) * 2),
          workspace_(kernels::device::Gemms::workspace_bytes(1)),
          gemms_(workspace_.data(), 1) {
        in_ = {memory_.data(), DType::bf16, kRowsM, kDepthK, kDepthK};
        weight_ = {in_.data + kRowsM * kDepthK * 2, DType::bf16, kColsN, kDepthK, kDepthK};
        out_ = {weight_.data + kColsN * kDepthK * 2, DType::bf16, kRowsM, kColsN, kColsN};
        kernels::device::fill_normal(nullptr, 1, 0, 1, kDepthK, 0, 0, in_);
        kernels::device::fill_normal(nullptr, 2, 0, 0.01F, kDepthK, 0, 0, weight_);
        require(cudaDeviceSynchronize());
    }
    void enqueue(cudaStream_t stream) { gemms_.linear(stream, in_, weight_, nullptr, out_); }

  private:
    DeviceMemory memory_, workspace_;
    kernels::device::Gemms gemms_;
    Rows in_, weight_, out_;
};

struct Figures {
    double alone_ms = 0;     // the exchange
    double gemm_ms = 0;      // alone
    double together_ms = 0;  // until both are done
    double beside_ms = 0;    // until the exchange is done
};

class Bench {
  public:
    Bench(MpiWorld& world, std::int64_t most_bytes)
        : all_(world.communicator()), memory_(2 * (most_bytes + 1024)), windows_(all_) {
        windows_.add(memory_.data(), memory_.bytes());
        std::vector<std::byte> noise(1 << 20);
        for (std::byte& byte : noise) byte = static_cast<std::byte>(std::rand());
        for (std::int64_t begin = 0; begin < memory_.bytes(); begin += std::ssize(noise))
            require(cudaMemcpy(memory_.data() + begin, noise.data(),
                               std::min(noise.size(), at(memory_.bytes() - begin)), cudaMemcpyHostToDevice));
    }

    Windows& windows() { return windows_; }

    Figures measure(DeviceExchange& exchange, std::int64_t bytes) {
        const std::int64_t others = std::max<std::int64_t>(1, all_.size() - 1);
        const std::int64_t each = bytes / others / 16 * 16;
        sends_.clear();
        receives_.clear();
        std::byte* next = memory_.data();
        for (std::int64_t peer = 0; peer < all_.size(); ++peer) {
            if (peer == all_.rank() && all_.size() > 1) continue;
            sends_.push_back({peer, next, each});
            receives_.push_back({peer, next + each, each});
            next += 2 * each;
        }
        Figures figures;
        const auto exchange_alone = [&] { exchange.exchange(sends_, receives_, lane_); };
        const auto gemm_alone = [&] { gemm_.enqueue(compute_); };
        const int rounds = static_cast<int>(std::clamp<std::int64_t>(4'000 * kMegabyte / bytes, 8, 100));
        figures.alone_ms = burst_ms(lane_, rounds, exchange_alone);
        figures.gemm_ms = burst_ms(compute_, 20, gemm_alone);
        side_by_side(exchange, figures);
        return figures;
    }

  private:
    template <typename Enqueue>
    double burst_ms(const Stream& stream, int rounds, Enqueue enqueue) {
        for (int i = 0; i < 2; ++i) enqueue();
        stream.synchronize();
        all_.barrier();
        begin_.record(stream);
        for (int i = 0; i < rounds; ++i) enqueue();
        lane_end_.record(stream);
        stream.synchronize();
        return max_over_ranks(all_, lane_end_.ms_since(begin_) / rounds);
    }

    // Rounds follow one another without a pause; the last half counts.
    void side_by_side(DeviceExchange& exchange, Figures& figures) {
        constexpr int kRounds = 12;
        std::vector<double> together, beside;
        for (int round = 0; round < kRounds; ++round) {
            all_.barrier();
            begin_.record(compute_);
            require(cudaStreamWaitEvent(lane_, begin_.event, 0));
            gemm_.enqueue(compute_);
            exchange.exchange(sends_, receives_, lane_);
            lane_end_.record(lane_);
            gemm_end_.record(compute_);
            lane_.synchronize();
            compute_.synchronize();
            const double lane_ms = lane_end_.ms_since(begin_);
            beside.push_back(max_over_ranks(all_, lane_ms));
            together.push_back(max_over_ranks(all_, std::max(lane_ms, gemm_end_.ms_since(begin_))));
        }
        const auto median = [](std::vector<double> values) {
            values.erase(values.begin(), values.begin() + kRounds / 2);
            std::ranges::sort(values);
            return values[values.size() / 2];
        };
        figures.beside_ms = median(beside);
        figures.together_ms = median(together);
    }

    Communicator& all_;
    DeviceMemory memory_;
    Windows windows_;
    Gemm gemm_;
    Stream compute_;
    Stream lane_{kUrgent};
    Event begin_, lane_end_, gemm_end_;
    std::vector<Message> sends_, receives_;
};

/// GB/s of 4 x H200 for 16, 64, 256 and 1024 MB; "-" for other sizes.
std::string reference(const std::string& transport, std::int64_t bytes) {
    const std::vector<std::pair<std::string, std::vector<int>>> measured = {
        {"copy_engine", {263, 344, 377, 388}},
        {"nccl", {197, 263, 323, 350}},
        {"nccl, 8 CTAs", {149, 200, 205, 225}}};
    const std::vector<std::int64_t> sizes = {16, 64, 256, 1024};
    for (const auto& [name, rates] : measured)
        for (std::size_t i = 0; i < sizes.size(); ++i)
            if (name == transport && bytes == sizes[i] * kMegabyte) return std::to_string(rates[i]);
    return "-";
}

void run(MpiWorld& world, const std::vector<std::int64_t>& sizes) {
    require(cudaSetDevice(static_cast<int>(world.local_rank() % num_devices())));
    Communicator& all = world.communicator();
    const bool speaks = all.rank() == 0;
    const bool own_devices = world.local_size() <= num_devices();
    Bench bench(world, std::ranges::max(sizes));
    if (speaks)
        fmt::print("{} ranks on {} GPUs{}\n{:14} {:>8} {:>9} {:>8} {:>12} {:>9} {:>13} {:>13}\n", all.size(),
                   num_devices(),
                   all.size() == 1 ? ": a message to oneself"
                   : own_devices   ? ""
                                   : ", shared: no link is measured",
                   "transport", "MB", "alone ms", "GB/s", "4 x H200", "GEMM ms", "beside it ms",
                   "both done ms");
    std::vector<std::pair<std::string, int>> transports = {{"copy_engine", 0}};
    if (own_devices) transports.insert(transports.end(), {{"nccl", 0}, {"nccl, 8 CTAs", 8}});
    for (const auto& [name, num_ctas] : transports) {
        const auto exchange =
            name == "copy_engine" ? copy_engine_exchange(all, bench.windows()) : nccl_exchange(all, num_ctas);
        for (const std::int64_t bytes : sizes) {
            const Figures figures = bench.measure(*exchange, bytes);
            if (speaks)
                fmt::print("{:14} {:8} {:9.3f} {:8.0f} {:>12} {:9.3f} {:13.3f} {:13.3f}\n", name,
                           bytes / kMegabyte, figures.alone_ms,
                           static_cast<double>(bytes) / figures.alone_ms * 1e-6, reference(name, bytes),
                           figures.gemm_ms, figures.beside_ms, figures.together_ms);
        }
    }
}

}  // namespace
}  // namespace eps::comm::cuda

int main(int argc, char** argv) {
    eps::comm::MpiWorld world;
    try {
        std::vector<std::int64_t> sizes;
        for (int i = 1; i < argc; ++i) sizes.push_back(std::atoll(argv[i]) * 1'000'000);
        if (sizes.empty()) sizes = {16'000'000, 64'000'000, 256'000'000, 1024'000'000};
        eps::comm::cuda::run(world, sizes);
    } catch (const std::exception& error) {
        fmt::print(stderr, "bench_device_exchange: rank {}: {}\n", world.communicator().rank(), error.what());
        world.communicator().abort(1);
    }
}
