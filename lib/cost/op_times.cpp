#include "cost/op_times.hpp"

#include "base/error.hpp"

#include <algorithm>
#include <string>
#include <type_traits>

#include <fmt/format.h>

namespace eps::cost {

namespace {

using plan::BufferId;
using plan::Slice;

double as_double(std::int64_t value) {
    return static_cast<double>(value);
}

// How unlike two positive numbers are: their ratio, from 1.
double unlikeness(double a, double b) {
    return a > b ? a / b : b / a;
}

// The element whose work (a product of widths) is nearest to `work`; it scales by the ratio of the two.
template <typename T, typename Work>
const T* nearest(const std::vector<T>& list, double work, Work&& work_of) {
    const T* best = nullptr;
    for (const T& element : list)
        if (best == nullptr || unlikeness(work_of(element), work) < unlikeness(work_of(*best), work))
            best = &element;
    return best;
}

class Bytes {
  public:
    explicit Bytes(const plan::RankPlan& plan) : plan_(plan) {}

    double of(BufferId buffer, std::int64_t rows) const {
        if (buffer == plan::kNoBuffer) return 0;
        const plan::Buffer& b = plan_.buffers[at(buffer)];
        return as_double(rows * b.cols * bytes_of(b.dtype));
    }
    double of(Slice slice) const { return of(slice.buffer, slice.rows.size()); }
    const plan::Buffer& buffer(BufferId id) const { return plan_.buffers[at(id)]; }

    std::int64_t rows_of_pairs(Range numbers) const {
        std::int64_t rows = 0;
        for (std::int64_t i = numbers.begin; i < numbers.end; i += 2)
            rows += plan_.numbers[at(i + 1)] - plan_.numbers[at(i)];
        return rows;
    }
    // Rows of a buffer that the op declares to read.
    std::int64_t rows_read(const plan::Op& op, BufferId id) const {
        std::int64_t rows = 0;
        for (std::int64_t i = op.uses.begin; i < op.uses.end; ++i) {
            const plan::BufferUse& use = plan_.uses[at(i)];
            if (use.buffer == id && use.access == plan::Access::read) rows = std::max(rows, use.rows.size());
        }
        return rows;
    }

  private:
    const plan::RankPlan& plan_;
};

struct MovedBytes {
    const plan::Op& op;
    Bytes bytes;

    double operator()(const plan::Embed& a) const { return 2 * bytes.of(a.out); }
    double operator()(const plan::RmsNorm& a) const { return 2 * bytes.of(a.out); }
    double operator()(const plan::Linear&) const { return 0; }
    double operator()(const plan::Rope& a) const {
        const plan::Buffer& x = bytes.buffer(a.x.buffer);
        return 2 * as_double(a.x.rows.size() * a.num_heads * (a.head_stride - a.offset) * bytes_of(x.dtype));
    }
    double operator()(const plan::Attention&) const { return 0; }
    double operator()(const plan::Add& a) const { return 3 * bytes.of(a.out); }
    double operator()(const plan::Clear& a) const { return bytes.of(a.out); }
    double operator()(const plan::Gate&) const { return 0; }
    double operator()(const plan::Route& a) const { return bytes.of(a.ids) + bytes.of(a.weights); }
    double operator()(const plan::ExchangeCounts&) const { return 0; }
    double operator()(const plan::AllToAll&) const { return 0; }
    double operator()(const plan::MapRows& a) const {
        return a.arrived_slots.buffer == plan::kNoBuffer ? bytes.of(a.ids) + bytes.of(a.weights)
                                                         : bytes.of(a.arrived_slots);
    }
    double operator()(const plan::MapHome& a) const { return bytes.of(a.ids); }
    double operator()(const plan::PackRows& a) const {
        return 2 * bytes.of(a.out, bytes.rows_of_pairs(a.ranges));
    }
    double operator()(const plan::ExpertGemm&) const { return 0; }
    double operator()(const plan::Swiglu& a) const { return bytes.of(a.in) + bytes.of(a.out); }
    // How many rows each sum adds is data; on average as many as all expert rows over all sums.
    double operator()(const plan::LocalReduce& a) const {
        const std::int64_t all_sums = std::max<std::int64_t>(1, bytes.buffer(a.starts).rows - 1);
        const double added = as_double(bytes.rows_read(op, a.index)) / as_double(all_sums);
        return (added + 1) * bytes.of(a.out);
    }
    double operator()(const plan::UnpackSum& a) const {
        const double read = bytes.of(a.in, bytes.rows_read(op, a.in));
        return read + bytes.of(a.out) * (1 + (a.shared != plan::kNoBuffer) + (a.residual ? 1 : 0));
    }
    double operator()(const plan::ReduceScatter& a) const {
        return as_double(a.sends.size() + 2) * bytes.of(a.out);  // every rank's part and the sum
    }
    double operator()(const plan::AllGather&) const { return 0; }
    double operator()(const plan::Send&) const { return 0; }
    double operator()(const plan::Receive&) const { return 0; }
};

}  // namespace

double moved_bytes(const plan::Op& op, const plan::RankPlan& plan) {
    return std::visit(MovedBytes{op, Bytes(plan)}, op.args);
}

OpTimes::OpTimes(const Calibration& calibration, DType dtype, const std::string& where)
    : calibration_(calibration), where_(where) {
    const DTypeTimes* found = calibration.find(dtype);
    if (found == nullptr)
        throw Error(Exit::usage,
                    fmt::format("{}: has no times of dtype {}: calibrate for it", where, name_of(dtype)));
    dtype_idx_ = static_cast<std::size_t>(found - calibration.dtypes.data());
    if (std::ranges::all_of(found->gemms, [](const GemmTimes& gemm) {
            return gemm.by_rows.sizes.empty() && gemm.experts.empty();
        }))
        throw Error(Exit::usage, fmt::format("{}: has no times of GEMMs of dtype {}", where, name_of(dtype)));
    if (calibration.exchanges.empty() || calibration.copy.sizes.empty())
        throw Error(Exit::usage, fmt::format("{}: has no times of exchanges", where));
    transport_ = calibration.exchanges.front().transport;
}

void OpTimes::use_transport(const std::string& transport) {
    const auto& all = calibration_.exchanges;
    const bool known = std::ranges::count(all, transport, &ExchangeTimes::transport) > 0;
    transport_ = known ? transport : all.front().transport;
}

double OpTimes::linear_seconds(std::int64_t rows, std::int64_t n, std::int64_t k) const {
    const double work = as_double(n * k);
    const auto work_of = [&](const GemmTimes& g) {  // one without a table is unlike everything
        return g.by_rows.sizes.empty() ? work * 1e300 : as_double(g.n * g.k);
    };
    for (const GemmTimes& gemm : times().gemms)
        if (gemm.n == n && gemm.k == k && !gemm.by_rows.sizes.empty())
            return gemm.by_rows.at(as_double(rows));
    const GemmTimes* gemm = nearest(times().gemms, work, work_of);
    if (gemm == nullptr || gemm->by_rows.sizes.empty()) return 0;
    return gemm->by_rows.at(as_double(rows)) * (work / as_double(gemm->n * gemm->k));
}

// Null where no product of experts was measured.
const GemmTimes* OpTimes::expert_gemm(std::int64_t n, std::int64_t k) const {
    const double work = as_double(n * k);
    const GemmTimes* gemm = nearest(times().gemms, work, [&](const GemmTimes& g) {
        if (g.experts.empty()) return work * 1e300;
        return g.n == n && g.k == k ? work : as_double(g.n * g.k) * (1 + 1e-9);  // the very shape first
    });
    return gemm == nullptr || gemm->experts.empty() ? nullptr : gemm;
}

bool OpTimes::with_swiglu(plan::GemmKind kind, std::int64_t n, std::int64_t k) const {
    const GemmTimes* gemm = expert_gemm(n, k);
    return gemm != nullptr && std::ranges::any_of(gemm->experts, [&](const ExpertGemmTimes& entry) {
               return entry.kind == kind && entry.with_swiglu;
           });
}

double OpTimes::expert_seconds(plan::GemmKind kind, std::int64_t n, std::int64_t k, std::int64_t num_experts,
                               double rows) const {
    const GemmTimes* gemm = expert_gemm(n, k);
    if (gemm == nullptr) return linear_seconds(static_cast<std::int64_t>(rows), n, k);
    const double scale = as_double(n * k) / as_double(gemm->n * gemm->k);
    // Between the measured numbers of experts by a straight line.
    const ExpertGemmTimes *below = nullptr, *above = nullptr;
    for (const ExpertGemmTimes& entry : gemm->experts) {
        if (entry.kind != kind) continue;
        if (entry.num_experts <= num_experts) below = &entry;
        if (entry.num_experts >= num_experts && above == nullptr) above = &entry;
    }
    const auto share = [&](const ExpertGemmTimes& entry) {
        return entry.by_rows.at(rows) / as_double(entry.num_experts);
    };
    if (below == nullptr) return scale * share(*above);
    if (above == nullptr || above == below) return scale * share(*below);
    const double place =
        as_double(num_experts - below->num_experts) / as_double(above->num_experts - below->num_experts);
    return scale * (share(*below) + place * (share(*above) - share(*below)));
}

double OpTimes::expert_gemm_seconds(plan::GemmKind kind, std::int64_t n, std::int64_t k,
                                    std::span<const std::int64_t> offsets) const {
    std::int64_t num_busy = 0, most_rows = 0;
    for (std::size_t i = 0; i + 1 < offsets.size(); ++i) {
        num_busy += offsets[i + 1] > offsets[i];
        most_rows = std::max(most_rows, offsets[i + 1] - offsets[i]);
    }
    double sum = 0;
    for (std::size_t i = 0; i + 1 < offsets.size(); ++i)
        if (offsets[i + 1] > offsets[i])
            sum += expert_seconds(kind, n, k, num_busy, as_double(offsets[i + 1] - offsets[i]));
    if (num_busy == 0) return sum;
    return std::max(sum, expert_seconds(kind, n, k, 1, as_double(most_rows)));
}

const TimeTable* OpTimes::memory_table(std::string_view op, bool on_exchange_lane) const {
    const auto& ops = on_exchange_lane ? times().exchange_ops : times().compute_ops;
    const auto found = ops.find(op);
    return found == ops.end() ? nullptr : &found->second;
}

double OpTimes::memory_seconds(std::string_view op, bool on_exchange_lane, double bytes) const {
    const TimeTable* table = memory_table(op, on_exchange_lane);
    return table == nullptr ? 0 : table->at(bytes);
}

MessageTimes::MessageTimes(std::span<const ExchangeTimes> tables, const std::string& transport,
                           std::int64_t num_messages)
    : num_messages_(num_messages) {
    for (const ExchangeTimes& entry : tables) {
        if (entry.transport != transport) continue;
        if (entry.num_messages <= num_messages) below_ = &entry;
        if (entry.num_messages >= num_messages && above_ == nullptr) above_ = &entry;
    }
}

MessageTimes::Seconds MessageTimes::seconds(double bytes) const {
    if (num_messages_ <= 0 || bytes <= 0) return {};
    const auto at = [&](const ExchangeTimes& entry) -> Seconds {
        const Place place = place_of(bytes, entry.by_bytes.sizes);
        return {seconds_at(place, entry.by_bytes.seconds), seconds_at(place, entry.beside_by_bytes.seconds)};
    };
    if (below_ == nullptr) return at(*above_);
    const Seconds seconds = at(*below_);
    if (below_->num_messages == num_messages_) return seconds;
    if (above_ == nullptr) {  // each message more costs what a small one does
        const double more = as_double(num_messages_ - below_->num_messages);
        const double of = as_double(below_->num_messages);
        return {seconds.alone + more * below_->by_bytes.seconds.front() / of,
                seconds.beside + more * below_->beside_by_bytes.seconds.front() / of};
    }
    const double place = as_double(num_messages_ - below_->num_messages) /
                         as_double(above_->num_messages - below_->num_messages);
    const Seconds more = at(*above_);
    return {seconds.alone + place * (more.alone - seconds.alone),
            seconds.beside + place * (more.beside - seconds.beside)};
}

double OpTimes::copy_seconds(double bytes) const {
    return calibration_.copy.at(bytes);
}

namespace {

struct SecondsOf {
    const OpTimes& times;
    const DTypeTimes& of_dtype;
    const plan::Op& op;
    const plan::RankPlan& plan;

    std::int64_t cols(BufferId id) const { return plan.buffers[at(id)].cols; }

    [[noreturn]] void refuse() const {
        throw Error(
            Exit::usage,
            fmt::format("{}: has no times of the op {} on the lane {} in {}: calibrate with a config that "
                        "has it",
                        times.where(), plan::name_of(op.args), plan.lanes[at(op.lane)].name,
                        name_of(of_dtype.dtype)));
    }

    double operator()(const plan::Linear& a) const {
        if (std::ranges::all_of(of_dtype.gemms, [](const GemmTimes& g) { return g.by_rows.sizes.empty(); }))
            refuse();
        return times.linear_seconds(a.out.rows.size(), cols(a.out.buffer), cols(a.weight));
    }
    double operator()(const plan::ExpertGemm& a) const {
        return times.expert_gemm_seconds(
            a.kind, cols(a.out), cols(a.in),
            {plan.numbers.data() + a.offsets.begin, static_cast<std::size_t>(a.offsets.size())});
    }
    double operator()(const plan::Gate& a) const {
        const std::int64_t num_experts = plan.buffers[at(a.weight)].rows, hidden = cols(a.in.buffer);
        const double work = as_double(num_experts * hidden);
        const auto work_of = [](const GateTimes& g) { return as_double(g.num_experts * g.hidden); };
        const GateTimes* gate = nearest(of_dtype.gates, work, work_of);
        if (gate == nullptr) refuse();
        return gate->by_rows.at(as_double(a.in.rows.size())) * (work / work_of(*gate));
    }
    double operator()(const plan::Attention& a) const {
        const double work = as_double(cols(a.q.buffer) + cols(a.out.buffer));
        const auto work_of = [](const AttentionTimes& t) { return as_double(t.q_cols + t.out_cols); };
        const AttentionTimes* attention = nearest(of_dtype.attentions, work, work_of);
        if (attention == nullptr) refuse();
        double seconds = 0;
        for (std::int64_t i = a.starts.begin; i + 1 < a.starts.end; ++i)
            seconds += attention->by_tokens.at(as_double(plan.numbers[at(i + 1)] - plan.numbers[at(i)]));
        return seconds * (work / work_of(*attention));
    }
    double memory_bound() const {
        const double bytes = moved_bytes(op, plan);
        if (bytes == 0) return 0;
        const bool exchanges = plan.lanes[at(op.lane)].exchange;
        const OpTables& ops = exchanges ? of_dtype.exchange_ops : of_dtype.compute_ops;
        if (!ops.contains(plan::name_of(op.args))) refuse();
        return times.memory_seconds(plan::name_of(op.args), exchanges, bytes);
    }
    double operator()(const plan::Embed&) const { return memory_bound(); }
    double operator()(const plan::RmsNorm&) const { return memory_bound(); }
    double operator()(const plan::Rope&) const { return memory_bound(); }
    double operator()(const plan::Add&) const { return memory_bound(); }
    double operator()(const plan::Clear&) const { return memory_bound(); }
    double operator()(const plan::Route&) const { return memory_bound(); }
    double operator()(const plan::MapRows&) const { return memory_bound(); }
    double operator()(const plan::MapHome&) const { return memory_bound(); }
    double operator()(const plan::PackRows&) const { return memory_bound(); }
    // Nothing where the times of the product before it hold it.
    double operator()(const plan::Swiglu&) const {
        const plan::Op* before = op.id > 0 ? &plan.ops[at(op.id - 1)] : nullptr;
        if (before == nullptr || plan::activation_of(plan, *before) == nullptr) return memory_bound();
        const auto& product = std::get<plan::ExpertGemm>(before->args);
        return times.with_swiglu(product.kind, cols(product.out), cols(product.in)) ? 0 : memory_bound();
    }
    double operator()(const plan::LocalReduce&) const { return memory_bound(); }
    double operator()(const plan::UnpackSum&) const { return memory_bound(); }
    double operator()(const plan::ReduceScatter&) const { return memory_bound(); }
    double operator()(const plan::ExchangeCounts&) const { return 0; }
    double operator()(const plan::AllToAll&) const { return 0; }
    double operator()(const plan::AllGather&) const { return 0; }
    double operator()(const plan::Send&) const { return 0; }
    double operator()(const plan::Receive&) const { return 0; }
};

}  // namespace

double OpTimes::seconds(const plan::Op& op, const plan::RankPlan& plan) const {
    return std::visit(SecondsOf{*this, times(), op, plan}, op.args);
}

}  // namespace eps::cost
