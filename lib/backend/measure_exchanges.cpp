// Calibration of what all ranks do together: exchanges, alone and beside a GEMM.
#include "backend/calibrate.hpp"
#include "backend/stopwatch.hpp"
#include "comm/collectives.hpp"

#include <algorithm>
#include <thread>

#include <fmt/format.h>

namespace eps::backend {

namespace {

/// Seconds of an exchange, the same on every rank.
class ExchangeClock {
  public:
    ExchangeClock(comm::Communicator& ranks, const Grain& grain) : ranks_(ranks), grain_(grain) {}

    /// The median of three stretches of equal length on all ranks.
    double seconds(RepeatedExchange& exchange) const {
        exchange.run(1);
        const double warm_s = stretch(exchange, 1);
        const auto calls = static_cast<std::int64_t>(
            std::clamp(grain_.exchange_burst_s / std::max(warm_s, 1e-7), 1.0, 100.0));
        std::vector<double> stretches;
        for (int i = 0; i < 3; ++i) stretches.push_back(stretch(exchange, calls));
        std::ranges::sort(stretches);
        return stretches[1];
    }

  private:
    double stretch(RepeatedExchange& exchange, std::int64_t calls) const {
        ranks_.barrier();
        const double begin_s = now_s();
        exchange.run(calls);
        return std::max(1e-9, comm::max_over_ranks(ranks_, (now_s() - begin_s) / static_cast<double>(calls)));
    }

    comm::Communicator& ranks_;
    const Grain& grain_;
};

class ExchangeTables {
  public:
    ExchangeTables(const CalibrationSetup& setup, comm::Communicator& ranks, std::int64_t most_bytes,
                   const Grain& grain)
        : setup_(setup),
          ranks_(ranks),
          bench_(setup.bench->exchanges(ranks, most_bytes)),
          clock_(ranks, grain),
          grain_(grain),
          most_bytes_(most_bytes) {}

    std::vector<std::string> transports() const { return bench_->transports(); }

    /// With 0 peers: messages to oneself.
    cost::ExchangeTimes table(const std::string& transport, std::int64_t num_peers) {
        const std::int64_t num_messages = std::max<std::int64_t>(1, num_peers);
        const auto seconds_at = [&](std::int64_t bytes, const char* beside) {
            const Measurement measurement(setup_,
                                          fmt::format("exchange of {} bytes with {} ranks by {}{}", bytes,
                                                      num_peers, transport, beside),
                                          comm::Waits::for_peers);
            return clock_.seconds(*bench_->make(transport, num_peers, bytes));
        };
        cost::ExchangeTimes times{
            .transport = transport, .num_messages = num_messages, .by_bytes = {}, .beside_by_bytes = {}};
        constexpr std::int64_t kLeast = 64;  // and whole multiples
        const std::int64_t most = std::max(kLeast, most_bytes_ / num_messages / kLeast * kLeast);
        for (std::int64_t bytes = kLeast;; bytes = std::min(8 * bytes, most)) {
            const double seconds = seconds_at(bytes, "");
            times.by_bytes.sizes.push_back(static_cast<double>(bytes * num_messages));
            times.by_bytes.seconds.push_back(seconds);
            if (bytes == most || seconds > cost::kLongRun_s) break;
        }
        times.beside_by_bytes.sizes = times.by_bytes.sizes;
        const auto busy = setup_.bench->keep_busy();
        for (std::size_t i = 0; i < times.by_bytes.sizes.size(); ++i) {
            const auto bytes = static_cast<std::int64_t>(times.by_bytes.sizes[i]) / num_messages;
            times.beside_by_bytes.seconds.push_back(
                std::max(times.by_bytes.seconds[i], seconds_at(bytes, " beside GEMMs")));
        }
        return times;
    }

    // How much less is computed while exchanges go on than without, in stretches in turn.
    double gemm_loss() {
        const std::int64_t num_peers = ranks_.size() - 1;
        const std::int64_t bytes =
            std::min(grain_.loss_bytes, most_bytes_ / std::max<std::int64_t>(1, num_peers));
        const auto exchange = bench_->make(transports().front(), num_peers, bytes);
        const Measurement measurement(setup_, "GEMMs beside exchanges", comm::Waits::for_peers);
        const double alone_s = clock_.seconds(*exchange);
        const auto busy = setup_.bench->keep_busy();
        const double beside_s = clock_.seconds(*exchange);
        const auto calls =
            static_cast<std::int64_t>(std::clamp(grain_.loss_stretch_s / beside_s, 1.0, 1000.0));
        std::vector<double> losses;
        for (int turn = 0; turn < 3; ++turn) {
            ranks_.barrier();
            const std::int64_t before = busy->num_done();
            const double begin_s = now_s();
            exchange->run(calls);
            const double between_s = now_s();
            const std::int64_t between = busy->num_done();
            std::this_thread::sleep_for(std::chrono::duration<double>(between_s - begin_s));
            const double length_s = between_s - begin_s, idle_s = now_s() - between_s;
            const double rate = static_cast<double>(busy->num_done() - between) / idle_s;
            const double lost_s = rate > 0 ? length_s - static_cast<double>(between - before) / rate : 0;
            losses.push_back(std::max(0.0, lost_s / (alone_s * static_cast<double>(calls))));
        }
        std::ranges::sort(losses);
        // More than the core's time on both sides of an exchange is not taken, only waited for: ranks that
        // share cores.
        constexpr double kMostLoss = 2;
        return std::min(losses[1], kMostLoss);
    }

  private:
    const CalibrationSetup& setup_;
    comm::Communicator& ranks_;
    std::unique_ptr<ExchangeBench> bench_;
    ExchangeClock clock_;
    const Grain& grain_;
    std::int64_t most_bytes_;
};

}  // namespace

void measure_exchanges(const CalibrationSetup& setup, std::int64_t most_bytes, cost::Calibration& made) {
    const auto ranks = setup.world->duplicate();
    const Grain grain = setup.bench->grain(made);
    ExchangeTables tables(setup, *ranks, most_bytes, grain);
    const cost::ExchangeTimes copies = tables.table(tables.transports().front(), 0);
    made.copy = copies.by_bytes;
    made.exchange_slowdown = copies.beside_by_bytes.seconds.back() / copies.by_bytes.seconds.back();
    made.exchanges.clear();
    if (ranks->size() == 1) made.exchanges.push_back(copies);  // nobody to talk to: never used
    for (const std::string& transport : tables.transports()) {
        if (ranks->size() > 1) made.exchanges.push_back(tables.table(transport, 1));
        if (ranks->size() > 2) made.exchanges.push_back(tables.table(transport, ranks->size() - 1));
    }
    made.gemm_loss = tables.gemm_loss();
}

}  // namespace eps::backend
