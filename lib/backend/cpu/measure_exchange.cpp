// Calibration of what all ranks do together: exchanges, alone and beside a GEMM.
#include "backend/cpu/calibrate.hpp"
#include "backend/cpu/lane_priority.hpp"
#include "backend/cpu/stopwatch.hpp"
#include "comm/collectives.hpp"

#include <atomic>
#include <thread>

namespace eps::backend::cpu {

namespace {

/// Exchanges of `bytes` to (and from) each of the next `num_peers` ranks.
class Exchanges {
  public:
    Exchanges(comm::Communicator& ranks, std::int64_t num_peers, std::int64_t bytes)
        : ranks_(ranks),
          sent_(at(num_peers * bytes), std::byte{1}),
          received_(at(num_peers * bytes), std::byte{2}) {
        const std::int64_t size = ranks.size();
        for (std::int64_t i = 0; i < num_peers; ++i) {
            const std::int64_t distance = size == 1 ? 0 : i + 1;
            sends_.push_back({(ranks.rank() + distance) % size, sent_.data() + i * bytes, bytes});
            receives_.push_back(
                {(ranks.rank() + size - distance) % size, received_.data() + i * bytes, bytes});
        }
    }
    void run() { ranks_.exchange(sends_, receives_); }

    /// Per exchange, the same on every rank: the median of three stretches of equal length on all ranks.
    double seconds() {
        run();
        const double warm_s = stretch(1);
        const auto calls = static_cast<std::int64_t>(std::clamp(300e-6 / std::max(warm_s, 1e-7), 1.0, 100.0));
        std::vector<double> stretches;
        for (int i = 0; i < 3; ++i) stretches.push_back(stretch(calls));
        std::ranges::sort(stretches);
        return stretches[1];
    }

  private:
    double stretch(std::int64_t calls) {
        ranks_.barrier();
        const double begin_s = now_s();
        for (std::int64_t i = 0; i < calls; ++i) run();
        return std::max(1e-9, comm::max_over_ranks(ranks_, (now_s() - begin_s) / static_cast<double>(calls)));
    }

    comm::Communicator& ranks_;
    std::vector<std::byte> sent_, received_;
    std::vector<comm::Message> sends_, receives_;
};

/// A compute lane that is never idle, on every rank.
class Computing {
  public:
    explicit Computing(const CalibrationSetup& setup)
        : setup_(setup), numbers_(at(3 * kWidth * kWidth), 0.01F) {
        weight_ = setup.kernels->pack(rows(0));
        thread_ = std::thread([this] {
            give_way_to_exchanges();
            while (!stop_) {
                setup_.kernels->linear(rows(1), *weight_, nullptr, rows(2), setup_.threads);
                ++num_done_;
            }
        });
    }
    ~Computing() {
        stop_ = true;
        thread_.join();
    }
    Computing(const Computing&) = delete;
    Computing& operator=(const Computing&) = delete;

    std::int64_t num_done() const { return num_done_; }

  private:
    static constexpr std::int64_t kWidth = 128;
    Rows rows(std::int64_t i) {
        auto* data = reinterpret_cast<std::byte*>(numbers_.data() + i * kWidth * kWidth);
        return {data, DType::f32, kWidth, kWidth, kWidth};
    }

    const CalibrationSetup& setup_;
    std::vector<float> numbers_;
    std::unique_ptr<kernels::GemmWeight> weight_;
    std::atomic<bool> stop_ = false;
    std::atomic<std::int64_t> num_done_ = 0;
    std::thread thread_;
};

cost::ExchangeTimes measured_exchange(const CalibrationSetup& setup, comm::Communicator& ranks,
                                      std::int64_t num_peers, std::int64_t most_bytes) {
    cost::ExchangeTimes times{
        .transport = "mpi", .num_messages = num_peers, .by_bytes = {}, .beside_by_bytes = {}};
    for (std::int64_t bytes = 64;; bytes *= 8) {
        const double seconds = Exchanges(ranks, num_peers, bytes).seconds();
        times.by_bytes.sizes.push_back(static_cast<double>(bytes * num_peers));
        times.by_bytes.seconds.push_back(seconds);
        if (bytes * num_peers * 8 > most_bytes || seconds > kLongRun_s) break;
    }
    times.beside_by_bytes.sizes = times.by_bytes.sizes;
    const Computing computing(setup);
    for (std::size_t i = 0; i < times.by_bytes.sizes.size(); ++i) {
        const auto bytes = static_cast<std::int64_t>(times.by_bytes.sizes[i]) / num_peers;
        times.beside_by_bytes.seconds.push_back(
            std::max(times.by_bytes.seconds[i], Exchanges(ranks, num_peers, bytes).seconds()));
    }
    return times;
}

}  // namespace

void measure_exchanges(const CalibrationSetup& setup, std::int64_t most_bytes, cost::Calibration& made) {
    const auto ranks = setup.world->duplicate();
    const auto alone = ranks->split(ranks->rank(), 0);
    const cost::ExchangeTimes copies = measured_exchange(setup, *alone, 1, most_bytes);
    made.copy = copies.by_bytes;
    made.exchange_slowdown = copies.beside_by_bytes.seconds.back() / copies.by_bytes.seconds.back();
    made.exchanges.clear();
    if (ranks->size() == 1) made.exchanges.push_back(copies);  // nobody to talk to: never used
    if (ranks->size() > 1) made.exchanges.push_back(measured_exchange(setup, *ranks, 1, most_bytes));
    if (ranks->size() > 2)
        made.exchanges.push_back(measured_exchange(setup, *ranks, ranks->size() - 1, most_bytes));
}

// How much less is computed while exchanges go on than without, in stretches of a few milliseconds in turn.
void measure_gemm_loss(const CalibrationSetup& setup, cost::Calibration& made) {
    constexpr std::int64_t kBytes = 1 << 17;
    constexpr double kStretch_s = 6e-3;
    const auto ranks = setup.world->duplicate();
    Exchanges exchanges(*ranks, std::max<std::int64_t>(1, ranks->size() - 1), kBytes);
    const double alone_s = exchanges.seconds();
    const Computing computing(setup);
    const double beside_s = exchanges.seconds();
    const auto calls = static_cast<std::int64_t>(std::clamp(kStretch_s / beside_s, 1.0, 1000.0));
    std::vector<double> losses;
    for (int turn = 0; turn < 3; ++turn) {
        ranks->barrier();
        const std::int64_t before = computing.num_done();
        const double begin_s = now_s();
        for (std::int64_t i = 0; i < calls; ++i) exchanges.run();
        const double between_s = now_s();
        const std::int64_t between = computing.num_done();
        std::this_thread::sleep_for(std::chrono::duration<double>(between_s - begin_s));
        const double length_s = between_s - begin_s, idle_s = now_s() - between_s;
        const double rate = static_cast<double>(computing.num_done() - between) / idle_s;
        const double lost_s = rate > 0 ? length_s - static_cast<double>(between - before) / rate : 0;
        losses.push_back(std::max(0.0, lost_s / (alone_s * static_cast<double>(calls))));
    }
    std::ranges::sort(losses);
    // More than the core's time on both sides of an exchange is not taken, only waited for: ranks that share
    // cores.
    constexpr double kMostLoss = 2;
    made.gemm_loss = std::min(losses[1], kMostLoss);
}

}  // namespace eps::backend::cpu
