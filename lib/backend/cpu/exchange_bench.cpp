// Exchanges between ranks, and a compute lane beside them, to be measured.
#include "backend/cpu/lane_priority.hpp"
#include "backend/cpu/micro_bench.hpp"

#include <atomic>
#include <thread>

namespace eps::backend::cpu {

namespace {

class CpuExchange : public RepeatedExchange {
  public:
    CpuExchange(comm::Communicator& ranks, std::int64_t num_peers, std::int64_t bytes)
        : ranks_(ranks),
          sent_(at(std::max<std::int64_t>(1, num_peers) * bytes), std::byte{1}),
          received_(sent_.size(), std::byte{2}) {
        const std::int64_t size = ranks.size(), rank = ranks.rank();
        if (num_peers == 0) {
            sends_.push_back({rank, sent_.data(), bytes});
            receives_.push_back({rank, received_.data(), bytes});
        }
        for (std::int64_t i = 0; i < num_peers; ++i) {
            sends_.push_back({(rank + i + 1) % size, sent_.data() + i * bytes, bytes});
            receives_.push_back({(rank + size - i - 1) % size, received_.data() + i * bytes, bytes});
        }
    }
    void run(std::int64_t calls) override {
        for (std::int64_t i = 0; i < calls; ++i) ranks_.exchange(sends_, receives_);
    }

  private:
    comm::Communicator& ranks_;
    std::vector<std::byte> sent_, received_;
    std::vector<comm::Message> sends_, receives_;
};

class CpuExchangeBench : public ExchangeBench {
  public:
    explicit CpuExchangeBench(comm::Communicator& ranks) : ranks_(ranks) {}
    std::vector<std::string> transports() const override { return {"mpi"}; }
    std::unique_ptr<RepeatedExchange> make(const std::string& /*transport*/, std::int64_t num_peers,
                                           std::int64_t bytes) override {
        return std::make_unique<CpuExchange>(ranks_, num_peers, bytes);
    }

  private:
    comm::Communicator& ranks_;
};

class CpuBusyLane : public BusyLane {
  public:
    explicit CpuBusyLane(const MicroBenchSetup& setup)
        : kernels_(*setup.kernels), threads_(setup.threads), numbers_(at(3 * kWidth * kWidth), 0.01F) {
        weight_ = kernels_.pack(rows(0));
        thread_ = std::thread([this] {
            give_way_to_exchanges();
            while (!stop_) {
                kernels_.linear(rows(1), *weight_, nullptr, rows(2), threads_);
                ++num_done_;
            }
        });
    }
    ~CpuBusyLane() override {
        stop_ = true;
        thread_.join();
    }
    CpuBusyLane(const CpuBusyLane&) = delete;
    CpuBusyLane& operator=(const CpuBusyLane&) = delete;

    std::int64_t num_done() const override { return num_done_; }

  private:
    static constexpr std::int64_t kWidth = 128;
    Rows rows(std::int64_t i) {
        auto* data = reinterpret_cast<std::byte*>(numbers_.data() + i * kWidth * kWidth);
        return {data, DType::f32, kWidth, kWidth, kWidth};
    }

    const kernels::Kernels& kernels_;
    int threads_;
    std::vector<float> numbers_;
    std::unique_ptr<kernels::GemmWeight> weight_;
    std::atomic<bool> stop_ = false;
    std::atomic<std::int64_t> num_done_ = 0;
    std::thread thread_;
};

}  // namespace

std::unique_ptr<ExchangeBench> make_exchange_bench(comm::Communicator& ranks) {
    return std::make_unique<CpuExchangeBench>(ranks);
}

std::unique_ptr<BusyLane> make_busy_lane(const MicroBenchSetup& setup) {
    return std::make_unique<CpuBusyLane>(setup);
}

}  // namespace eps::backend::cpu
