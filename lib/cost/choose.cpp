#include "cost/choose.hpp"

#include <algorithm>
#include <cmath>

namespace eps::cost {

using routing::CountField;

namespace {

double number(std::int64_t value) {
    return static_cast<double>(value);
}

// Of a part.
std::int64_t most_experts(const routing::BlockShape& block) {
    std::int64_t most = 1;
    for (std::int64_t part = 0; part < block.num_parts; ++part)
        most = std::max(most, block.experts_of(part).size());
    return most;
}

OpTimes on_transport(OpTimes times, const std::string& transport) {
    times.use_transport(transport);
    return times;
}

// 0 for an op that was not measured.
double seconds_of(const TimeTable* table, double bytes) {
    return table == nullptr ? 0 : table->at(bytes);
}

}  // namespace

Chooser::Chooser(const OpTimes& times, const ExpertLayer& layer)
    : times_(on_transport(times, layer.transport)),
      layer_(layer),
      gemms_(times, layer.hidden, layer.width, most_experts(layer.block)),
      messages_(times_.messages(layer.block.num_ranks() - 1)),
      pack_(times_.memory_table("pack_rows", true)),
      gather_(times_.memory_table("pack_rows", false)),
      swiglu_(times_.memory_table("swiglu", false)),
      reduce_(times_.memory_table("local_reduce", false)),
      swiglu_in_group_(times.with_swiglu(plan::GemmKind::group, 2 * layer.width, layer.hidden)),
      swiglu_in_dense_(times.with_swiglu(plan::GemmKind::dense, 2 * layer.width, layer.hidden)),
      row_bytes_(number(layer.hidden * bytes_of(layer.dtype))) {
    work_.num_parts = layer.block.num_parts;
    work_.slowdown = times.calibration().exchange_slowdown;
    work_.loss = times.calibration().gemm_loss;
}

Chooser::Load Chooser::load_of(Range experts) const {
    const Load &begin = before_[at(experts.begin)], &end = before_[at(experts.end)];
    return {end.rows - begin.rows, end.out - begin.out, end.own_out - begin.own_out, end.home - begin.home,
            end.own_home - begin.own_home};
}

void Chooser::take_load(const routing::CountsView& counts) {
    const routing::BlockShape& block = layer_.block;
    const CountField out = routing::out_field(layer_.dedup), home = routing::kLast;
    before_.assign(at(counts.num_experts + 1), {});  // for now of each expert alone, at [expert + 1]
    std::int64_t most_rows = 0;
    for (std::int64_t source = 0; source < counts.num_sources; ++source) {
        std::int64_t rows = 0;
        for (std::int64_t e = 0; e < counts.num_experts; ++e) {
            Load& load = before_[at(e + 1)];
            rows += counts.at(source, e, routing::kRows);
            load.rows += counts.at(source, e, routing::kRows);
            load.out += counts.at(source, e, out);
            load.home += counts.at(source, e, home);
        }
        most_rows = std::max(most_rows, rows);
        const Range own = block.experts_of(source / block.num_shards);  // that this rank holds
        for (std::int64_t e = own.begin; e < own.end; ++e) {
            before_[at(e + 1)].own_out += counts.at(source, e, out);
            before_[at(e + 1)].own_home += counts.at(source, e, home);
        }
    }
    rows_.clear();
    for (std::size_t e = 1; e < before_.size(); ++e) {
        Load& load = before_[e];
        const Load& before = before_[e - 1];
        rows_.push_back(load.rows);
        load = {before.rows + load.rows, before.out + load.out,
                before.own_out + load.own_out / block.num_shards, before.home + load.home,
                before.own_home + load.own_home / block.num_shards};
    }
    gemms_.set_rows(rows_);
    price_around_chunks(number(most_rows) / number(block.top_k));
}

// What each lane has to do before the first chunk and after the last; `most_tokens` of a source.
void Chooser::price_around_chunks(double most_tokens) {
    const routing::BlockShape& block = layer_.block;
    most_sent_share_ = 0;
    if (before_.back().rows > 0)
        most_sent_share_ = most_tokens * number(block.top_k) / number(before_.back().rows);
    const double slot_bytes = number(block.slot_columns() * 4), id_bytes = number(block.top_k * 4);
    double most_arrived = 0;
    for (std::int64_t part = 0; part < block.num_parts; ++part)
        most_arrived = std::max(most_arrived, number(load_of(block.experts_of(part)).out));
    work_.before_s = messages_.seconds(most_arrived * slot_bytes).alone +
                     times_.memory_seconds("map_rows", true, most_arrived * slot_bytes);
    work_.home_maps_s = times_.memory_seconds("map_home", true, most_tokens * id_bytes);
    const double came = number(before_.back().home * block.num_shards) * most_sent_share_;
    const double parts_added = layer_.shared_width > 0 ? 3 : 2;  // shared experts, residual, the sum
    work_.after_s =
        times_.memory_seconds("unpack_sum", false, (came + parts_added * most_tokens) * row_bytes_);
    work_.covered_s = 0;
    if (layer_.shared_width > 0) {
        const auto tokens = static_cast<std::int64_t>(most_tokens);
        const double act_bytes = number(3 * layer_.shared_width * bytes_of(layer_.dtype));
        work_.covered_s = times_.linear_seconds(tokens, 2 * layer_.shared_width, layer_.hidden) +
                          seconds_of(swiglu_, most_tokens * act_bytes) +
                          times_.linear_seconds(tokens, layer_.hidden, layer_.shared_width);
    }
}

// Chunks of a part get about as many rows each.
void Chooser::divide_by_rows(std::int64_t num_chunks, std::vector<std::int64_t>& bounds) const {
    bounds.clear();
    for (std::int64_t part = 0; part < layer_.block.num_parts; ++part) {
        const Range experts = layer_.block.experts_of(part);
        const std::int64_t first = before_[at(experts.begin)].rows;
        const std::int64_t total = load_of(experts).rows;
        std::int64_t e = experts.begin;
        bounds.push_back(e);
        for (std::int64_t c = 1; c < num_chunks; ++c) {
            // The bound nearest to c / n of the rows.
            const std::int64_t goal = 2 * first + 2 * total * c / num_chunks;
            while (e < experts.end && before_[at(e)].rows + before_[at(e + 1)].rows < goal) ++e;
            bounds.push_back(e);
        }
        bounds.push_back(experts.end);
    }
}

void Chooser::divide(std::int64_t num_chunks, bool by_rows, std::vector<std::int64_t>& bounds) const {
    by_rows ? divide_by_rows(num_chunks, bounds) : routing::divide_evenly(layer_.block, num_chunks, bounds);
}

// With SwiGLU of so many rows between the two, where their times lack it.
SecondsByKind Chooser::mlp_seconds(SecondsByKind gemms, double rows) const {
    const double act_bytes = number(3 * layer_.width * bytes_of(layer_.dtype));
    const double swiglu = seconds_of(swiglu_, rows * act_bytes);
    if (!swiglu_in_group_) gemms.group += swiglu;
    if (!swiglu_in_dense_) gemms.dense += swiglu;
    return gemms;
}

double Chooser::compute_seconds(Range experts, const Load& load) const {
    if (load.rows == 0) return 0;
    const double rows = number(load.rows), sums = number(load.home);
    const SecondsByKind mlps = mlp_seconds(gemms_.seconds(experts), rows);
    double mlp = std::min(mlps.group, mlps.dense);
    if (layer_.gemm) mlp = *layer_.gemm == plan::GemmKind::group ? mlps.group : mlps.dense;
    return mlp + seconds_of(gather_, 2 * rows * row_bytes_) + seconds_of(reduce_, (rows + sums) * row_bytes_);
}

// Rows to and from other ranks, and rows that stay, of the rank with the most.
ExchangeWork Chooser::exchange(double most_received, double most_sent, double most_own) const {
    const double bytes = std::max(most_received, most_sent) * row_bytes_;
    ExchangeWork work;
    // Own rows travel only where other shards need them as well.
    const double copy = layer_.block.num_shards > 1 ? times_.copy_seconds(most_own * row_bytes_) : 0;
    const MessageTimes::Seconds messages = messages_.seconds(bytes);
    work.processor = messages.alone + copy;
    work.beside = messages.beside + work_.slowdown * copy;
    if (bytes > 0 && layer_.link)
        work.wire = layer_.link->latency_us * 1e-6 + bytes / (layer_.link->gb_per_s * 1e9);
    return work;
}

// What each lane has to do for these chunks.
void Chooser::price(const std::vector<std::int64_t>& bounds) {
    const routing::BlockShape& block = layer_.block;
    const routing::Chunks chunks(block, bounds);
    const std::int64_t n = chunks.size();
    work_.num_chunks = n;
    work_.dispatch.resize(at(n));
    work_.combine.resize(at(n));
    work_.compute.resize(at(block.num_parts * n));
    for (std::int64_t c = 0; c < n; ++c) {
        std::int64_t most_in = 0, most_own_in = 0, most_home = 0, most_own_home = 0, sent = 0, packed = 0;
        for (std::int64_t part = 0; part < block.num_parts; ++part) {
            const Range experts = chunks.of(part, c);
            const Load load = load_of(experts);
            most_in = std::max(most_in, load.out - load.own_out);
            most_own_in = std::max(most_own_in, load.own_out);
            most_home = std::max(most_home, load.home - load.own_home);
            most_own_home = std::max(most_own_home, load.own_home);
            sent += (load.out - load.own_out) * block.num_shards;
            packed += load.out;
            work_.compute[at(part * n + c)] = compute_seconds(experts, load);
        }
        // A source sends its share of every chunk, and the same rows come back to it.
        ExchangeWork& dispatch = work_.dispatch[at(c)];
        dispatch = exchange(number(most_in), number(sent) * most_sent_share_, number(most_own_in));
        dispatch.packing = seconds_of(pack_, 2 * number(packed) * most_sent_share_ * row_bytes_);
        work_.combine[at(c)] = exchange(number(most_home), 0, number(most_own_home));
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
    const double overhead = times_.calibration().chunk_overhead_s;
    const double computation = *std::max_element(work_.compute.begin(), work_.compute.end());
    const double communication = work_.dispatch[0].alone() + work_.combine[0].alone();
    const double best = overhead > 0 ? std::sqrt(std::min(computation, communication) / overhead) : 1e9;
    return std::min(most_experts(layer_.block), static_cast<std::int64_t>(std::min(2 * best, 1e9)) + 2);
}

void Chooser::choose(const routing::CountsView& counts, std::vector<std::int64_t>& bounds) {
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
}

Prediction Chooser::predict(const routing::CountsView& counts, const std::vector<std::int64_t>& bounds) {
    take_load(counts);
    const double overlapped = predicted(bounds);
    return {work_.num_chunks, overlapped, serial_seconds(work_)};
}

plan::GemmKind Chooser::kind_of(std::span<const std::int64_t> offsets) const {
    const SecondsByKind seconds =
        mlp_seconds(gemms_.seconds(offsets), number(offsets.back() - offsets.front()));
    return seconds.dense < seconds.group ? plan::GemmKind::dense : plan::GemmKind::group;
}

}  // namespace eps::cost
