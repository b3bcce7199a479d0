#include "comm/cuda/wire.hpp"

#include "base/range.hpp"
#include "comm/collectives.hpp"
#include "comm/cuda/call.hpp"
#include "comm/cuda/windows.hpp"
#include "comm/cuda/wire_kernels.hpp"
#include "comm/progress.hpp"
#include "comm/wire.hpp"

#include <atomic>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

#include <fmt/core.h>

namespace eps::comm::cuda {
namespace {

class WiredExchange final : public DeviceExchange {
  public:
    WiredExchange(std::unique_ptr<DeviceExchange> inner, DeviceWire& wire, Communicator& group,
                  Windows* windows)
        : inner_(std::move(inner)), wire_(wire) {
        const std::uint64_t mine = this_clock();
        const Bytes all = all_gather_bytes(group, std::as_bytes(std::span(&mine, 1)));
        std::vector<std::uint64_t> clocks(all.size() / sizeof mine);
        std::memcpy(clocks.data(), all.data(), all.size());
        for (const std::uint64_t clock : clocks) same_clock_.push_back(clock == mine);

        constexpr auto kBytes = static_cast<std::int64_t>(sizeof(OnDevice));
        void* memory = windows == nullptr ? nullptr : windows->take(kBytes);
        if (windows == nullptr) {
            cuda::check(cudaMalloc(&own_, sizeof(OnDevice)), "cudaMalloc");
            memory = own_;
        }
        on_device_ = static_cast<OnDevice*>(memory);
    }

    ~WiredExchange() override {
        inner_.reset();
        cudaFree(own_);
    }
    WiredExchange(const WiredExchange&) = delete;
    WiredExchange& operator=(const WiredExchange&) = delete;

    std::int64_t rank() const override { return inner_->rank(); }
    std::int64_t size() const override { return inner_->size(); }
    void check() override { inner_->check(); }
    void while_waiting(std::function<void()> look) override { inner_->while_waiting(std::move(look)); }

    void exchange(std::span<const Message> sends, std::span<const Message> receives,
                  CUstream_st* stream) override {
        if (!wire_.link()) {
            inner_->exchange(sends, receives, stream);
            return;
        }
        // By rotating peers, as they leave; what comes keeps its order.
        sorted_.clear();
        for (std::int64_t i = 0; i < size(); ++i)
            for (const Message& message : sends)
                if (message.peer == (rank() + i) % size()) sorted_.push_back(message);
        Leaving leaving{wire_.state(), on_device_->leaving.data(), &on_device_->sent_ns};
        leaving.num = add_departures(sorted_, on_device_->leaving.data(), leaving.durations_ns, out_);
        Arriving arriving{wire_.state(), on_device_->arriving.data(), &on_device_->sent_ns};
        arriving.latency_ns = wire_.link()->latency_ns();
        arriving.num = add_departures(receives, on_device_->arriving.data(), arriving.durations_ns, in_);
        int next = 0;
        for (const Message& message : receives)
            if (travels(message)) arriving.same_clock[at(next++)] = same_clock_[at(message.peer)];

        leave(stream, leaving);
        inner_->exchange(out_, in_, stream);
        arrive(stream, arriving);
    }

  private:
    struct OnDevice {
        std::array<Departure, kMostOnWire> leaving, arriving;
        std::int64_t sent_ns;
    };

    bool travels(const Message& message) const { return message.bytes > 0 && message.peer != rank(); }

    // The messages, and before each one that travels its departure; returns how many travel.
    int add_departures(std::span<const Message> messages, Departure* departures,
                       std::array<std::int64_t, kMostOnWire>& durations_ns, std::vector<Message>& all) const {
        int num = 0;
        all.clear();
        for (const Message& message : messages) {
            if (travels(message)) {
                if (num == kMostOnWire)
                    throw Error(
                        Exit::internal,
                        fmt::format("more than {} messages of one exchange over a wire", kMostOnWire));
                durations_ns[at(num)] = wire_.link()->duration_ns(message.bytes);
                all.push_back({message.peer, reinterpret_cast<std::byte*>(departures + num),
                               static_cast<std::int64_t>(sizeof(Departure))});
                ++num;
            }
            all.push_back(message);
        }
        return num;
    }

    std::unique_ptr<DeviceExchange> inner_;
    DeviceWire& wire_;
    std::vector<bool> same_clock_;  // per peer
    void* own_ = nullptr;
    OnDevice* on_device_ = nullptr;
    std::vector<Message> sorted_, out_, in_;  // of the exchange being enqueued
};

}  // namespace

struct DeviceWire::Clock {
    int asked = 0, answered = 0;
    std::int64_t time_ns = 0;
};

DeviceWire::DeviceWire() {
    void* memory = nullptr;
    check(cudaMalloc(&memory, sizeof(WireState)), "cudaMalloc");
    state_ = static_cast<WireState*>(memory);
    check(cudaMemset(state_, 0, sizeof(WireState)), "cudaMemset");
    check(cudaMallocHost(&memory, sizeof(Clock)), "cudaMallocHost");
    clock_ = new (memory) Clock();
    check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
    check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
}

DeviceWire::~DeviceWire() {
    cudaStreamDestroy(stream_);
    cudaFreeHost(clock_);
    cudaFree(state_);
}

void DeviceWire::use(const std::optional<Link>& link) {
    if (link == link_) return;
    link_ = link;
    set_ns_ = 0;
    check(cudaMemsetAsync(state_, 0, sizeof(WireState), stream_), "cudaMemsetAsync");
    check(cudaStreamSynchronize(stream_), "cudaStreamSynchronize");
    set_clock();
}

void DeviceWire::set_clock() {
    constexpr std::int64_t kApartNs = 50'000'000;
    if (!link_ || steady_now_ns() - set_ns_ < kApartNs) return;
    constexpr int kQuestions = 32;
    *clock_ = {};
    tell_time(stream_, kQuestions, &clock_->asked, &clock_->time_ns, &clock_->answered);
    std::int64_t quickest_ns = 0, host_ahead_ns = 0;
    for (int i = 1; i <= kQuestions; ++i) {
        const std::int64_t begin_ns = steady_now_ns();
        std::atomic_ref(clock_->asked).store(i, std::memory_order_release);
        while (std::atomic_ref(clock_->answered).load(std::memory_order_acquire) != i) {
        }
        const std::int64_t round_ns = steady_now_ns() - begin_ns;
        if (i > 1 && round_ns >= quickest_ns) continue;
        quickest_ns = round_ns;
        host_ahead_ns = begin_ns + round_ns / 2 - clock_->time_ns;
    }
    check(cudaMemcpyAsync(&state_->host_ahead_ns, &host_ahead_ns, sizeof host_ahead_ns,
                          cudaMemcpyHostToDevice, stream_),
          "cudaMemcpyAsync");
    check(cudaStreamSynchronize(stream_), "cudaStreamSynchronize");
    set_ns_ = steady_now_ns();
}

std::unique_ptr<DeviceExchange> over_wire(std::unique_ptr<DeviceExchange> inner, DeviceWire& wire,
                                          Communicator& group, Windows* windows) {
    return std::make_unique<WiredExchange>(std::move(inner), wire, group, windows);
}

}  // namespace eps::comm::cuda
