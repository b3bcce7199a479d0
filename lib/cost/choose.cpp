#include "cost/choose.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

namespace eps::cost {

using routing::CountField;

namespace {

double number(std::int64_t value) {
    return static_cast<double>(value);
}

}  // namespace

Chooser::Chooser(const OpTimes& times, const ExpertLayer& layer)
    : times_(times),
      layer_(layer),
      gemms_(times, layer.hidden, layer.width),
      one_chunk_(times, layer.hidden, layer.width),
      row_bytes_(number(layer.hidden * bytes_of(layer.dtype))) {
    times_.use_transport(layer.transport);
    for (auto& [table, op] :
         {std::pair{&gather_, "pack_rows"}, {&swiglu_, "swiglu"}, {&reduce_, "local_reduce"}})
        if (const TimeTable* known = times.memory_table(op, false)) *table = *known;
    work_.slowdown = times.calibration().exchange_slowdown;
    work_.loss = times.calibration().gemm_loss;
}

void Chooser::take_load(const routing::CountsView& counts) {
    const routing::BlockShape& block = layer_.block;
    const CountField out = routing::out_field(layer_.dedup), home = routing::kLast;
    for (Sums* sums : {&rows_before_, &out_before_, &own_out_before_, &home_before_, &own_home_before_})
        sums->assign(1, 0);
    rows_.clear();
    for (std::int64_t part = 0; part < block.num_parts; ++part) {
        const Range experts = block.experts_of(part);
        for (std::int64_t e = experts.begin; e < experts.end; ++e) {
            std::int64_t rows = 0, rows_out = 0, own_out = 0, rows_home = 0, own_home = 0;
            for (std::int64_t source = 0; source < counts.num_sources; ++source) {
                const bool own = source / block.num_shards == part;  // of the ranks that hold the expert
                rows += counts.at(source, e, routing::kRows);
                rows_out += counts.at(source, e, out);
                rows_home += counts.at(source, e, home);
                if (own) own_out += counts.at(source, e, out), own_home += counts.at(source, e, home);
            }
            rows_.push_back(rows);
            rows_before_.push_back(rows_before_.back() + rows);
            out_before_.push_back(out_before_.back() + rows_out);
            own_out_before_.push_back(own_out_before_.back() + own_out / block.num_shards);
            home_before_.push_back(home_before_.back() + rows_home);
            own_home_before_.push_back(own_home_before_.back() + own_home / block.num_shards);
        }
    }
    most_tokens_ = most_sent_share_ = 0;
    for (std::int64_t source = 0; source < counts.num_sources; ++source) {
        std::int64_t rows = 0;
        for (std::int64_t e = 0; e < counts.num_experts; ++e) rows += counts.at(source, e, routing::kRows);
        most_tokens_ = std::max(most_tokens_, number(rows) / number(block.top_k));
    }
    if (rows_before_.back() > 0)
        most_sent_share_ = most_tokens_ * number(block.top_k) / number(rows_before_.back());
    gemms_.set_rows(rows_);
}

// Chunks of a part get about as many rows each.
void Chooser::divide_by_rows(std::int64_t num_chunks, std::vector<std::int64_t>& bounds) const {
    bounds.clear();
    for (std::int64_t part = 0; part < layer_.block.num_parts; ++part) {
        const Range experts = layer_.block.experts_of(part);
        const std::int64_t first = rows_before_[at(experts.begin)];
        const std::int64_t total = rows_before_[at(experts.end)] - first;
        std::int64_t e = experts.begin;
        bounds.push_back(e);
        for (std::int64_t c = 1; c < num_chunks; ++c) {
            // The bound nearest to c / n of the rows.
            const std::int64_t goal = 2 * first + 2 * total * c / num_chunks;
            while (e < experts.end && rows_before_[at(e)] + rows_before_[at(e + 1)] < goal) ++e;
            bounds.push_back(e);
        }
        bounds.push_back(experts.end);
    }
}

void Chooser::divide(std::int64_t num_chunks, bool by_rows, std::vector<std::int64_t>& bounds) const {
    by_rows ? divide_by_rows(num_chunks, bounds) : routing::divide_evenly(layer_.block, num_chunks, bounds);
}

double Chooser::compute_seconds(Range experts) const {
    const double rows = number(rows_before_[at(experts.end)] - rows_before_[at(experts.begin)]);
    if (rows == 0) return 0;
    const double sums = number(home_before_[at(experts.end)] - home_before_[at(experts.begin)]);
    const double gemm = layer_.gemm ? gemms_.seconds(*layer_.gemm, experts)
                                    : std::min(gemms_.seconds(plan::GemmKind::group, experts),
                                               gemms_.seconds(plan::GemmKind::dense, experts));
    const double act_bytes = number(3 * layer_.width * bytes_of(layer_.dtype));
    const auto seconds = [](const TimeTable& table, double bytes) {
        return table.sizes.empty() ? 0 : table.at(bytes);
    };
    return gemm + seconds(gather_, 2 * rows * row_bytes_) + seconds(swiglu_, rows * act_bytes) +
           seconds(reduce_, (rows + sums) * row_bytes_);
}

// Rows to and from other ranks, and rows that stay, of the rank with the most.
ExchangeWork Chooser::exchange(double most_received, double most_sent, double most_own) const {
    const double bytes = std::max(most_received, most_sent) * row_bytes_;
    ExchangeWork work;
    const std::int64_t num_messages = layer_.block.num_ranks() - 1;
    const double copy = times_.copy_seconds(most_own * row_bytes_);
    work.processor = times_.exchange_seconds(bytes, num_messages) + copy;
    work.beside = times_.exchange_seconds(bytes, num_messages, true) + work_.slowdown * copy;
    if (bytes > 0 && layer_.link)
        work.wire = layer_.link->latency_us * 1e-6 + bytes / (layer_.link->gb_per_s * 1e9);
    return work;
}

// What each lane has to do for these chunks.
void Chooser::price(const std::vector<std::int64_t>& bounds) {
    const routing::BlockShape& block = layer_.block;
    const routing::Chunks chunks(block, bounds);
    const std::int64_t n = chunks.size();
    work_.num_parts = block.num_parts;
    work_.num_chunks = n;
    work_.dispatch.resize(at(n));
    work_.combine.resize(at(n));
    work_.compute.resize(at(block.num_parts * n));
    for (std::int64_t c = 0; c < n; ++c) {
        double most_in = 0, most_own_in = 0, most_home = 0, most_own_home = 0, sent = 0, packed = 0;
        for (std::int64_t part = 0; part < block.num_parts; ++part) {
            const Range experts = chunks.of(part, c);
            const auto sum = [&](const Sums& before) {
                return number(before[at(experts.end)] - before[at(experts.begin)]);
            };
            const double in = sum(out_before_), own_in = sum(own_out_before_);
            const double home = sum(home_before_), own_home = sum(own_home_before_);
            most_in = std::max(most_in, in - own_in);
            most_own_in = std::max(most_own_in, own_in);
            most_home = std::max(most_home, home - own_home);
            most_own_home = std::max(most_own_home, own_home);
            sent += (in - own_in) * number(block.num_shards);
            packed += in;
            work_.compute[at(part * n + c)] = compute_seconds(experts);
        }
        // A source sends its share of every chunk, and the same rows come back to it.
        ExchangeWork& dispatch = work_.dispatch[at(c)];
        dispatch = exchange(most_in, sent * most_sent_share_, most_own_in);
        dispatch.packing =
            times_.memory_seconds("pack_rows", true, 2 * packed * most_sent_share_ * row_bytes_);
        work_.combine[at(c)] = exchange(most_home, 0, most_own_home);
    }

    const double slot_bytes = number(block.slot_columns() * 4), id_bytes = number(block.top_k * 4);
    double most_arrived = 0;
    for (std::int64_t part = 0; part < block.num_parts; ++part) {
        const Range experts = block.experts_of(part);
        most_arrived =
            std::max(most_arrived, number(out_before_[at(experts.end)] - out_before_[at(experts.begin)]));
    }
    work_.before_s = times_.exchange_seconds(most_arrived * slot_bytes, block.num_ranks() - 1) +
                     times_.memory_seconds("map_rows", true, most_arrived * slot_bytes);
    work_.home_maps_s = times_.memory_seconds("map_home", true, most_tokens_ * id_bytes);
    const double came = number(home_before_.back() * block.num_shards) * most_sent_share_;
    const double parts_added = layer_.shared_width > 0 ? 3 : 2;  // shared experts, residual, the sum
    work_.after_s =
        times_.memory_seconds("unpack_sum", false, (came + parts_added * most_tokens_) * row_bytes_);
    work_.covered_s = 0;
    if (layer_.shared_width > 0) {
        const auto tokens = static_cast<std::int64_t>(most_tokens_);
        const double act_bytes = number(3 * layer_.shared_width * bytes_of(layer_.dtype));
        work_.covered_s = times_.linear_seconds(tokens, 2 * layer_.shared_width, layer_.hidden) +
                          times_.memory_seconds("swiglu", false, most_tokens_ * act_bytes) +
                          times_.linear_seconds(tokens, layer_.hidden, layer_.shared_width);
    }
}

double Chooser::predicted(const std::vector<std::int64_t>& bounds) {
    price(bounds);
    const Calibration& measured = times_.calibration();
    return pipeline_.overlapped(work_) + measured.segment_overhead_s +
           number(work_.num_chunks) * measured.chunk_overhead_s;
}

// By which candidates are compared.
double Chooser::expected(const std::vector<std::int64_t>& bounds) {
    const double seconds = predicted(bounds);
    for (double& s : work_.compute) s *= kComputeSpread;
    const double apart = pipeline_.overlapped(work_) - seconds;
    const Calibration& measured = times_.calibration();
    return seconds +
           (apart + measured.segment_overhead_s + number(work_.num_chunks) * measured.chunk_overhead_s) / 2;
}

// Beyond N* = sqrt(C / k) gains shrink and overheads grow: twice that is far enough. After price() of one
// chunk.
std::int64_t Chooser::most_chunks() const {
    std::int64_t most_experts = 1;
    for (std::int64_t part = 0; part < layer_.block.num_parts; ++part)
        most_experts = std::max(most_experts, layer_.block.experts_of(part).size());
    const double overhead = times_.calibration().chunk_overhead_s;
    const double computation = *std::max_element(work_.compute.begin(), work_.compute.end());
    const double communication = work_.dispatch[0].alone() + work_.combine[0].alone();
    const double best = overhead > 0 ? std::sqrt(std::min(computation, communication) / overhead) : 1e9;
    return std::min(most_experts, static_cast<std::int64_t>(std::min(2 * best, 1e9)) + 2);
}

Prediction Chooser::choose(const routing::CountsView& counts, std::vector<std::int64_t>& bounds) {
    take_load(counts);
    candidates_.clear();
    double best = 0, best_of_fewer = 0;
    std::int64_t most = 1;
    int without_gain = 0;
    for (std::int64_t n = 1; n <= most && without_gain < 3; n += n < 8 ? 1 : n / 4) {
        for (const bool by_rows : {false, true}) {
            if (by_rows && n == 1) continue;
            divide(n, by_rows, bounds);
            candidates_.push_back({n, by_rows, expected(bounds)});
            if (n == 1) {
                best = candidates_.back().seconds;
                most = most_chunks();
            }
            best = std::min(best, candidates_.back().seconds);
        }
        without_gain = n > 1 && best >= best_of_fewer ? without_gain + 1 : 0;
        best_of_fewer = best;
    }
    const auto good_enough = std::ranges::find_if(
        candidates_, [&](const Candidate& c) { return c.seconds <= best * (1 + kNotWorthwhile); });
    divide(good_enough->num_chunks, good_enough->by_rows, bounds);
    return {good_enough->num_chunks, predicted(bounds), serial_seconds(work_)};
}

Prediction Chooser::predict(const routing::CountsView& counts, const std::vector<std::int64_t>& bounds) {
    take_load(counts);
    const double overlapped = predicted(bounds);
    return {work_.num_chunks, overlapped, serial_seconds(work_)};
}

plan::GemmKind Chooser::kind_of(std::span<const std::int64_t> offsets) {
    chunk_rows_.clear();
    for (std::size_t i = 0; i + 1 < offsets.size(); ++i) chunk_rows_.push_back(offsets[i + 1] - offsets[i]);
    one_chunk_.set_rows(chunk_rows_);
    const Range all{0, std::ssize(chunk_rows_)};
    return one_chunk_.seconds(plan::GemmKind::dense, all) < one_chunk_.seconds(plan::GemmKind::group, all)
               ? plan::GemmKind::dense
               : plan::GemmKind::group;
}

}  // namespace eps::cost
