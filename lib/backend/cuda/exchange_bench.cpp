// Exchanges between GPUs, and a compute lane beside them, to be measured.
#include "backend/cuda/micro_bench.hpp"
#include "comm/cuda/device_exchange.hpp"
#include "comm/cuda/windows.hpp"
#include "kernels/cuda/gemms.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <map>
#include <thread>

namespace eps::backend::cuda {

namespace {

/// Messages of a rank: the first half of the memory is sent, the second received into.
class CudaExchange : public RepeatedExchange {
  public:
    CudaExchange(comm::cuda::DeviceExchange* exchange, comm::Communicator& ranks, std::byte* memory,
                 std::int64_t half_bytes, std::int64_t num_peers, std::int64_t bytes, cudaStream_t stream)
        : exchange_(num_peers > 0 ? exchange : nullptr), own_bytes_(bytes), stream_(stream) {
        const std::int64_t size = ranks.size(), rank = ranks.rank();
        sends_.push_back({rank, memory, bytes});
        receives_.push_back({rank, memory + half_bytes, bytes});
        if (num_peers == 0) return;
        sends_.clear();
        receives_.clear();
        for (std::int64_t i = 0; i < num_peers; ++i) {
            sends_.push_back({(rank + i + 1) % size, memory + i * bytes, bytes});
            receives_.push_back({(rank + size - i - 1) % size, memory + half_bytes + i * bytes, bytes});
        }
    }
    void run(std::int64_t calls) override {
        for (std::int64_t i = 0; i < calls; ++i) {
            if (exchange_ != nullptr) {
                exchange_->exchange(sends_, receives_, stream_);
            } else {
                check(cudaMemcpyAsync(receives_[0].data, sends_[0].data, at(own_bytes_),
                                      cudaMemcpyDeviceToDevice, stream_),
                      "a copy");
            }
        }
        check(cudaStreamSynchronize(stream_), "exchanges");
        if (exchange_ != nullptr) exchange_->check();
    }

  private:
    comm::cuda::DeviceExchange* exchange_;  // null: copies to oneself
    std::int64_t own_bytes_;
    cudaStream_t stream_;
    std::vector<comm::Message> sends_, receives_;
};

class CudaExchangeBench : public ExchangeBench {
  public:
    CudaExchangeBench(comm::Communicator& ranks, const std::vector<std::string>& transports,
                      std::int64_t most_bytes)
        : ranks_(ranks),
          transports_(transports),
          half_bytes_((std::max(most_bytes, 64 * ranks.size()) + kCols - 1) / kCols * kCols),
          memory_(DType::bf16, half_bytes_ / kCols, kCols) {
        check(cudaDeviceSynchronize(), "filling what is exchanged");
        int least = 0, greatest = 0;
        check(cudaDeviceGetStreamPriorityRange(&least, &greatest), "reading the priorities of streams");
        check(cudaStreamCreateWithPriority(&stream_, cudaStreamNonBlocking, greatest), "making a stream");
        if (ranks.size() == 1) return;
        for (const std::string& transport : transports_) {
            if (transport == "nccl") {
                exchanges_[transport] = comm::cuda::nccl_exchange(ranks, 0);
                continue;
            }
            windows_ = std::make_unique<comm::cuda::Windows>(ranks);
            window_ = windows_->add(memory_.rows.data, 2 * half_bytes_);
            exchanges_[transport] = comm::cuda::copy_engine_exchange(ranks, *windows_);
        }
    }
    ~CudaExchangeBench() override {
        cudaStreamSynchronize(stream_);
        exchanges_.clear();
        if (windows_) windows_->remove(window_);
        windows_.reset();
        cudaStreamDestroy(stream_);
    }
    CudaExchangeBench(const CudaExchangeBench&) = delete;
    CudaExchangeBench& operator=(const CudaExchangeBench&) = delete;

    std::vector<std::string> transports() const override { return transports_; }
    std::unique_ptr<RepeatedExchange> make(const std::string& transport, std::int64_t num_peers,
                                           std::int64_t bytes) override {
        if (std::max<std::int64_t>(1, num_peers) * bytes > half_bytes_)
            throw Error(Exit::internal, "an exchange is larger than its memory");
        return std::make_unique<CudaExchange>(exchanges_[transport].get(), ranks_, memory_.rows.data,
                                              half_bytes_, num_peers, bytes, stream_);
    }

  private:
    static constexpr std::int64_t kCols = 4096;
    comm::Communicator& ranks_;
    std::vector<std::string> transports_;
    std::int64_t half_bytes_;
    DeviceMatrix memory_;  // of two bytes an element: twice half_bytes_
    cudaStream_t stream_ = nullptr;
    std::unique_ptr<comm::cuda::Windows> windows_;  // null: no copy engines
    std::int32_t window_ = 0;
    std::map<std::string, std::unique_ptr<comm::cuda::DeviceExchange>> exchanges_;
};

/// GroupGemms of about 0.4 ms (bf16, an H200), a few of them always waiting.
class CudaBusyLane : public BusyLane {
  public:
    explicit CudaBusyLane(const Device& device)
        : in_(DType::bf16, kExperts * kRows, kWidth),
          weights_(DType::bf16, kExperts * kWidth, kWidth, 0.02F),
          out_(DType::bf16, kExperts * kRows, kWidth),
          workspace_(kernels::device::Gemms::workspace_bytes(kExperts), "the workspace of GEMMs") {
        int least = 0, greatest = 0;
        check(cudaDeviceGetStreamPriorityRange(&least, &greatest), "reading the priorities of streams");
        check(cudaStreamCreateWithPriority(&stream_, cudaStreamNonBlocking, least), "making a stream");
        for (cudaEvent_t& event : done_)
            check(cudaEventCreateWithFlags(&event, cudaEventBlockingSync | cudaEventDisableTiming),
                  "making an event");
        check(cudaDeviceSynchronize(), "filling what is computed");
        thread_ = std::thread([this, number = device.number] { compute(number); });
        constexpr std::int64_t kWarm = 200;  // until clocks are those of sustained work
        while (num_done_ < kWarm && !failed_) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    ~CudaBusyLane() override {
        stop_ = true;
        thread_.join();
        cudaStreamSynchronize(stream_);
        for (cudaEvent_t event : done_) cudaEventDestroy(event);
        cudaStreamDestroy(stream_);
    }
    CudaBusyLane(const CudaBusyLane&) = delete;
    CudaBusyLane& operator=(const CudaBusyLane&) = delete;

    std::int64_t num_done() const override {
        if (failed_) throw Error(Exit::internal, "the GEMMs beside exchanges that are measured failed");
        return num_done_;
    }

  private:
    static constexpr std::int64_t kExperts = 4, kRows = 2048, kWidth = 4096;

    void compute(int device_number) {
        try {
            check(cudaSetDevice(device_number), "using the GPU");
            kernels::device::Gemms gemms(workspace_.data(), kExperts);
            std::vector<kernels::device::ExpertShare> experts;
            for (std::int64_t e = 0; e < kExperts; ++e)
                experts.push_back(
                    {weights_.rows.slice(e * kWidth, (e + 1) * kWidth).data, {e * kRows, (e + 1) * kRows}});
            for (std::size_t i = 0; !stop_; ++i) {
                cudaEvent_t event = done_[i % done_.size()];
                if (i >= done_.size()) {
                    check(cudaEventSynchronize(event), "GEMMs beside exchanges");
                    ++num_done_;
                }
                gemms.expert_gemm(stream_, in_.rows, experts, kernels::GemmKind::group, out_.rows);
                check(cudaEventRecord(event, stream_), "recording an event");
            }
        } catch (const std::exception&) {
            failed_ = true;  // told by num_done() in the thread that measures
        }
    }

    DeviceMatrix in_, weights_, out_;
    DeviceBytes workspace_;
    cudaStream_t stream_ = nullptr;
    std::array<cudaEvent_t, 4> done_{};
    std::atomic<bool> stop_ = false, failed_ = false;
    std::atomic<std::int64_t> num_done_ = 0;
    std::thread thread_;
};

}  // namespace

std::unique_ptr<ExchangeBench> make_exchange_bench(comm::Communicator& ranks,
                                                   const std::vector<std::string>& transports,
                                                   std::int64_t most_bytes) {
    return std::make_unique<CudaExchangeBench>(ranks, transports, most_bytes);
}

std::unique_ptr<BusyLane> make_busy_lane(const Device& device) {
    return std::make_unique<CudaBusyLane>(device);
}

}  // namespace eps::backend::cuda
