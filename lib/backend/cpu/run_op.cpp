#include "backend/cpu/run_op.hpp"

#include "backend/op_args.hpp"
#include "model/rope.hpp"
#include "routing/row_maps.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>

namespace eps::backend::cpu {

namespace {

template <typename T>
std::span<T> elements(Rows rows) {
    return {reinterpret_cast<T*>(rows.data), at(rows.num_rows * rows.num_cols)};
}

}  // namespace

OpRunner::OpRunner(const plan::RankPlan& plan, const schedule::Tables& tables, const Weights& weights,
                   const kernels::Kernels& kernels, int threads)
    : plan_(plan),
      tables_(tables),
      weights_(weights),
      kernels_(kernels),
      threads_(threads),
      storage_(plan.buffers.size()),
      weight_index_(weight_index(plan, tables)),
      attention_(attention_args(tables.spec(), tables.shards.heads.size())),
      gate_(gate_args(tables.spec())) {
    std::int64_t most_rows = 0;
    for (const auto& batch : tables.micro_batches) most_rows = std::max(most_rows, batch.num_tokens());
    identity_.resize(at(most_rows + 1));
    std::iota(identity_.begin(), identity_.end(), 0);
    model::Rope rope = model::make_rope(tables.spec());
    rope_ = {std::move(rope.inverse_frequencies), rope.cos_sin_factor};
}

struct OpRunner::Visitor {
    const OpRunner& self;
    LaneGroup* group;
    int threads;

    Rows rows(plan::BufferId id) const { return self.rows_of(id); }
    Rows rows(plan::Slice slice) const { return rows(slice.buffer).slice(slice.rows.begin, slice.rows.end); }
    template <typename T>
    std::span<T> all(plan::BufferId id) const {
        return elements<T>(rows(id));
    }
    template <typename T>
    std::span<T> part(plan::Slice slice) const {
        return elements<T>(rows(slice));
    }
    Rows plain(plan::BufferId id) const { return self.weights_.plain(at(self.weight_index_[at(id)])); }
    const kernels::GemmWeight& matrix(plan::BufferId id, std::int64_t m = 0) const {
        return self.weights_.matrix(at(self.weight_index_[at(id)]), m);
    }
    // Not through the array's size: the driver appends to it meanwhile (it never moves while ops are under
    // way).
    std::span<const std::int64_t> numbers(Range range) const {
        return {self.plan_.numbers.data() + range.begin, at(range.size())};
    }
    routing::Chunks chunks(Range bounds) const { return {self.tables_.block, numbers(bounds)}; }
    routing::CountsView counts(plan::BufferId id, std::int64_t num_sources) const {
        return {all<std::int32_t>(id).data(), num_sources, self.tables_.block.num_experts,
                routing::num_count_fields(self.tables_.per_chunk)};
    }

    // Transfers as messages of rows of one buffer.
    std::vector<comm::Message> messages(Range transfers, plan::BufferId buffer) const {
        const Rows of = rows(buffer);
        const std::int64_t row_bytes = of.num_cols * bytes_of(of.dtype);
        std::vector<comm::Message> list;
        for (std::int64_t i = transfers.begin; i < transfers.end; ++i) {
            const plan::Transfer& transfer = self.plan_.transfers[at(i)];
            list.push_back({group->peers.number_of(transfer.peer), of.data + transfer.rows.begin * row_bytes,
                            transfer.rows.size() * row_bytes});
        }
        return list;
    }
    // Calls make(range, rows) for rows of `out` that lie together, and where they go.
    template <typename Make>
    void for_places(plan::Slice out, const plan::Stay& stay, Make make) const {
        Range staying{std::max(out.rows.begin, stay.rows.begin), std::min(out.rows.end, stay.rows.end)};
        if (stay.to.buffer == plan::kNoBuffer || staying.empty()) staying = {out.rows.end, out.rows.end};
        for (const Range range : {Range{out.rows.begin, staying.begin}, Range{staying.end, out.rows.end}})
            if (!range.empty()) make(range, rows({out.buffer, range}));
        const std::int64_t first = stay.to.rows.begin + staying.begin - stay.rows.begin;
        if (!staying.empty()) make(staying, rows({stay.to.buffer, {first, first + staying.size()}}));
    }
    comm::Message message(std::int64_t peer, plan::Slice slice) const {
        const Rows of = rows(slice);
        return {group->peers.number_of(peer), of.data, of.num_rows * of.num_cols * bytes_of(of.dtype)};
    }

    void operator()(const plan::Embed& op) const {
        self.kernels_.embed(part<std::int32_t>(op.ids), plain(op.table), rows(op.out), threads);
    }
    void operator()(const plan::RmsNorm& op) const {
        const Rows out = rows(op.out);
        self.kernels_.rms_norm(rows(op.in).columns(0, out.num_cols), plain(op.weight), op.eps, out, threads);
    }
    void operator()(const plan::Linear& op) const {
        const Rows bias = op.bias == plan::kNoBuffer ? Rows{} : plain(op.bias);
        self.kernels_.linear(rows(op.in), matrix(op.weight), op.bias == plan::kNoBuffer ? nullptr : &bias,
                             rows(op.out), threads);
    }
    void operator()(const plan::Rope& op) const {
        const auto positions =
            all<std::int32_t>(op.positions).subspan(at(op.x.rows.begin), at(op.x.rows.size()));
        self.kernels_.rope(rows(op.x), positions, self.rope_, op.num_heads, op.head_stride, op.offset,
                           threads);
    }
    void operator()(const plan::Attention& op) const {
        const model::ModelSpec& spec = self.tables_.spec();
        const Rows k_rope = rows(op.kv_a).columns(spec.kv_lora_rank, spec.qk_rope_head_dim);
        self.kernels_.attention(rows(op.q), rows(op.kv), k_rope, numbers(op.starts), self.attention_,
                                rows(op.out), threads);
    }
    void operator()(const plan::Add& op) const {
        const Rows out = rows(op.out);
        const std::array parts{out, rows(op.in)};
        self.kernels_.sum_rows(parts, out, threads);
    }
    void operator()(const plan::Clear& op) const {
        const Rows out = rows(op.out);
        std::memset(out.data, 0, at(out.num_rows * out.num_cols * bytes_of(out.dtype)));
    }
    void operator()(const plan::Gate& op) const {
        kernels::GateArgs args = self.gate_;
        const auto ids = part<std::int32_t>(op.ids);
        if (op.forced != plan::kNoBuffer) {
            args.forced = true;
            std::ranges::copy(all<std::int32_t>(op.forced).first(ids.size()), ids.begin());
        }
        self.kernels_.gate(rows(op.in), plain(op.weight), args, ids.data(), part<float>(op.weights).data(),
                           threads);
    }
    void operator()(const plan::Route& op) const {
        const bool travels = op.send_order != plan::kNoBuffer;
        if (travels) {
            routing::route(self.tables_.block, part<std::int32_t>(op.ids), part<float>(op.weights), op.chunks,
                           op.dedup, part<std::int32_t>(op.counts), all<std::int32_t>(op.send_order),
                           all<std::int32_t>(op.sent_slots));
        } else {
            routing::count_rows(part<std::int32_t>(op.ids), part<std::int32_t>(op.counts),
                                routing::num_count_fields(false));
        }
    }
    void operator()(const plan::ExchangeCounts& op) const {
        const std::int64_t size = group->communicator->size();
        const Rows own = rows(op.counts), everyone = rows(op.all_counts);
        const std::int64_t bytes = own.num_rows * own.num_cols * bytes_of(own.dtype);
        std::vector<comm::Message> sends, receives;
        for (std::int64_t peer = 0; peer < size; ++peer) {
            sends.push_back({peer, own.data, bytes});
            receives.push_back({peer, everyone.data + peer * bytes, bytes});
        }
        group->communicator->exchange(sends, receives);
    }
    void operator()(const plan::AllToAll& op) const {
        group->communicator->exchange(messages(op.sends, op.in), messages(op.receives, op.out));
    }
    void operator()(const plan::MapRows& op) const {
        const routing::ReduceMaps reduce{all<std::int32_t>(op.reduce_starts),
                                         all<std::int32_t>(op.reduce_index), all<float>(op.reduce_weights)};
        if (op.arrived_slots.buffer == plan::kNoBuffer) {
            const auto starts = reduce.starts.first(at(op.ids.rows.size() + 1));
            routing::map_rows_at_home(self.tables_.block, part<std::int32_t>(op.ids), part<float>(op.weights),
                                      all<std::int32_t>(op.expert_order),
                                      {starts, reduce.index, reduce.weights});
            return;
        }
        routing::map_rows(self.tables_.block, self.tables_.position.ep,
                          counts(op.all_counts, self.tables_.block.num_ranks()),
                          part<std::int32_t>(op.arrived_slots), chunks(op.chunk_bounds), op.dedup,
                          op.per_chunk, all<std::int32_t>(op.expert_order), reduce);
    }
    void operator()(const plan::MapHome& op) const {
        routing::map_home(self.tables_.block, part<std::int32_t>(op.ids), chunks(op.chunk_bounds),
                          op.per_chunk, all<std::int32_t>(op.starts), all<std::int32_t>(op.index));
    }
    void operator()(const plan::PackRows& op) const {
        const auto ends = numbers(op.ranges);
        for (std::size_t i = 0; i < ends.size(); i += 2)
            for_places({op.out, {ends[i], ends[i + 1]}}, op.stay, [&](Range range, Rows out) {
                const auto index = all<std::int32_t>(op.index).subspan(at(range.begin), at(range.size()));
                self.kernels_.pack_rows(rows(op.in), index, out, threads);
            });
    }
    void operator()(const plan::ExpertGemm& op) const {
        const auto offsets = numbers(op.offsets);
        std::vector<kernels::ExpertRows> experts;
        for (std::int64_t e = op.experts.begin; e < op.experts.end; ++e) {
            const std::size_t i = at(e - op.experts.begin);
            experts.push_back({&matrix(op.weight, e), {offsets[i], offsets[i + 1]}});
        }
        const auto kind =
            op.kind == plan::GemmKind::dense ? kernels::GemmKind::dense : kernels::GemmKind::group;
        self.kernels_.expert_gemm(rows(op.in), experts, kind, rows(op.out), threads);
    }
    void operator()(const plan::Swiglu& op) const {
        self.kernels_.swiglu(rows(op.in), rows(op.out), threads);
    }
    void operator()(const plan::LocalReduce& op) const {
        for_places(op.out, op.stay, [&](Range range, Rows out) {
            const auto starts = all<std::int32_t>(op.starts).subspan(at(range.begin), at(range.size() + 1));
            self.kernels_.local_reduce(rows(op.in), starts, all<std::int32_t>(op.index),
                                       all<float>(op.weights), out, threads);
        });
    }
    void operator()(const plan::UnpackSum& op) const {
        const Rows out = rows(op.out);
        const auto num_rows = at(out.num_rows);
        const auto identity = std::span<const std::int32_t>(self.identity_);
        const bool mapped = op.starts != plan::kNoBuffer;
        const auto starts =
            mapped ? std::span<const std::int32_t>(all<std::int32_t>(op.starts)).first(num_rows + 1)
                   : identity.first(num_rows + 1);
        const auto index = mapped ? std::span<const std::int32_t>(all<std::int32_t>(op.index)) : identity;
        const Rows shared = op.shared == plan::kNoBuffer ? Rows{} : rows(op.shared).slice(0, out.num_rows);
        self.kernels_.unpack_sum(rows(op.in), starts, index, op.shared == plan::kNoBuffer ? nullptr : &shared,
                                 op.residual ? &out : nullptr, out, threads);
    }
    void operator()(const plan::ReduceScatter& op) const {
        group->communicator->exchange(messages(op.sends, op.in), messages(op.receives, op.scratch));
        std::vector<Rows> parts;
        const std::int64_t own = op.own_rows.size();
        for (std::int64_t p = 0; p <= op.sends.size(); ++p)
            parts.push_back(p == op.self ? rows({op.in, op.own_rows})
                                         : rows({op.scratch, {p * own, (p + 1) * own}}));
        if (own > 0) self.kernels_.sum_rows(parts, rows(op.out), threads);
    }
    void operator()(const plan::AllGather& op) const {
        group->communicator->exchange(messages(op.sends, op.buffer), messages(op.receives, op.buffer));
    }
    void operator()(const plan::Send& op) const {
        const std::array out{message(op.peer, op.rows)};
        group->communicator->exchange(out, {});
    }
    void operator()(const plan::Receive& op) const {
        const std::array in{message(op.peer, op.rows)};
        group->communicator->exchange({}, in);
    }
};

void OpRunner::run(const plan::Op& op, LaneGroup* group) const {
    // The exchange lanes keep to one thread: the cores belong to the GEMMs.
    const bool computes = op.lane == tables_.lanes.compute;
    std::visit(Visitor{*this, group, computes ? threads_ : 1}, op.args);
}

}  // namespace eps::backend::cpu
