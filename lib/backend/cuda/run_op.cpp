#include "backend/cuda/run_op.hpp"

#include "backend/op_args.hpp"
#include "kernels/cuda/interleaved.hpp"

#include <algorithm>
#include <array>
#include <span>

namespace eps::backend::cuda {

namespace device = kernels::device;

OpRunner::OpRunner(const plan::RankPlan& plan, const schedule::Tables& tables, const Weights& weights,
                   Scratch& scratch)
    : plan_(plan),
      tables_(tables),
      weights_(weights),
      scratch_(scratch),
      storage_(plan.buffers.size()),
      weight_index_(weight_index(plan, tables)),
      gate_(gate_args(tables.spec())),
      most_tokens_(most_owned_tokens(tables)) {}

struct OpRunner::Visitor {
    OpRunner& self;
    const plan::Op& current;
    const LanePlace& lane;

    int num_sms() const { return static_cast<int>(self.tables_.setup.schedule.gemm_sms); }
    Scratch& scratch() const { return self.scratch_; }
    Rows rows(plan::BufferId id) const { return self.rows_of(id); }
    Rows rows(plan::Slice slice) const { return rows(slice.buffer).slice(slice.rows.begin, slice.rows.end); }
    template <typename T>
    T* all(plan::BufferId id) const {
        return rows(id).row<T>(0);
    }
    template <typename T>
    T* part(plan::Slice slice) const {
        return rows(slice).template row<T>(0);
    }
    Rows weight(plan::BufferId id, std::int64_t m = 0) const {
        return self.weights_.matrix(at(self.weight_index_[at(id)]), m);
    }
    std::span<const std::int64_t> numbers(Range range) const {
        return {self.plan_.numbers.data() + range.begin, at(range.size())};
    }
    // The block with the chunks of all parts, which lie in the plan: see prepare().
    device::Block block_of_numbers(Range range) const {
        if (range.begin != self.sent_numbers_.begin || range.end != self.sent_numbers_.end)
            throw Error(Exit::internal, "a map of other chunks than those that were sent");
        device::Block block = this->block({});
        block.num_chunks = range.size() / block.num_parts - 1;
        block.chunk_bounds = scratch().chunk_bounds();
        return block;
    }
    device::Block block(std::span<const std::int64_t> bounds) const {
        device::Block block = block_of(self.tables_);
        block.part_begin = scratch().part_begin();
        if (bounds.empty()) return block;
        block.num_chunks = std::ssize(bounds) / block.num_parts - 1;
        block.chunk_bounds = scratch().lists().put(bounds, lane.stream);
        return block;
    }
    device::Apart apart(const plan::Stay& stay) const {
        return stay.to.buffer == plan::kNoBuffer ? device::Apart{} : device::Apart{stay.rows, rows(stay.to)};
    }
    void copy(std::byte* to, const std::byte* from, std::int64_t bytes) const {
        check(cudaMemcpyAsync(to, from, at(bytes), cudaMemcpyDeviceToDevice, lane.stream), "a copy");
    }

    // Transfers as messages of rows of one buffer.
    const std::vector<comm::Message>& messages(Range transfers, plan::BufferId buffer,
                                               std::vector<comm::Message>& list) const {
        const Rows of = rows(buffer);
        const std::int64_t row_bytes = of.num_cols * bytes_of(of.dtype);
        list.clear();
        for (std::int64_t i = transfers.begin; i < transfers.end; ++i) {
            const plan::Transfer& transfer = self.plan_.transfers[at(i)];
            list.push_back({lane.peers.number_of(transfer.peer), of.data + transfer.rows.begin * row_bytes,
                            transfer.rows.size() * row_bytes});
        }
        return list;
    }
    void exchange(Range sends, plan::BufferId from, Range receives, plan::BufferId to) const {
        lane.exchange->exchange(messages(sends, from, self.sends_), messages(receives, to, self.receives_),
                                lane.stream);
    }
    comm::Message message(std::int64_t peer, plan::Slice slice) const {
        const Rows of = rows(slice);
        return {lane.peers.number_of(peer), of.data, of.num_rows * of.num_cols * bytes_of(of.dtype)};
    }

    void operator()(const plan::Embed& op) const {
        device::gather_rows(lane.stream, weight(op.table), part<std::int32_t>(op.ids), rows(op.out));
    }
    void operator()(const plan::RmsNorm& op) const {
        const Rows out = rows(op.out);
        device::rms_norm(lane.stream, rows(op.in).columns(0, out.num_cols), weight(op.weight), op.eps, out);
    }
    void operator()(const plan::Linear& op) const {
        const Rows bias = op.bias == plan::kNoBuffer ? Rows{} : weight(op.bias);
        scratch().gemms().linear(lane.stream, rows(op.in), weight(op.weight),
                                 op.bias == plan::kNoBuffer ? nullptr : &bias, rows(op.out), num_sms());
    }
    void operator()(const plan::Rope& op) const {
        device::rope(lane.stream, rows(op.x), all<std::int32_t>(op.positions) + op.x.rows.begin,
                     scratch().cos_sin(), scratch().num_pairs(), op.num_heads, op.head_stride, op.offset);
    }
    void operator()(const plan::Attention& op) const {
        const model::ModelSpec& spec = self.tables_.spec();
        const Rows k_rope = rows(op.kv_a).columns(spec.kv_lora_rank, spec.qk_rope_head_dim);
        scratch().attention().run(lane.stream, rows(op.q), rows(op.kv), k_rope, numbers(op.starts),
                                  rows(op.out), scratch().attention_scratch());
    }
    void operator()(const plan::Add& op) const {
        const Rows out = rows(op.out);
        const std::array parts{out, rows(op.in)};
        device::sum_rows(lane.stream, parts, out);
    }
    void operator()(const plan::Clear& op) const {
        const Rows out = rows(op.out);
        check(
            cudaMemsetAsync(out.data, 0, at(out.num_rows * out.num_cols * bytes_of(out.dtype)), lane.stream),
            "clearing rows");
    }
    void operator()(const plan::Gate& op) const {
        kernels::GateArgs args = self.gate_;
        const Rows in = rows(op.in), router = weight(op.weight);
        if (in.num_rows == 0) return;
        auto* const ids = part<std::int32_t>(op.ids);
        if (op.forced != plan::kNoBuffer) {
            args.forced = true;
            copy(reinterpret_cast<std::byte*>(ids), rows(op.forced).data, in.num_rows * args.top_k * 4);
        }
        const std::int64_t num_experts = router.num_rows;
        auto* const logits = reinterpret_cast<std::byte*>(scratch().logits());
        scratch().gemms().linear(lane.stream, in, router, nullptr,
                                 {logits, DType::f32, in.num_rows, num_experts, num_experts});
        device::gate_choice(lane.stream, scratch().logits(), in.num_rows, num_experts, args, ids,
                            part<float>(op.weights));
    }
    void operator()(const plan::Route& op) const {
        const std::int64_t num_tokens = op.ids.rows.size();
        if (op.send_order == plan::kNoBuffer) {
            device::count_rows(lane.stream, block({}), part<std::int32_t>(op.ids), num_tokens,
                               part<std::int32_t>(op.counts), scratch().compute_maps());
            return;
        }
        self.bounds_.clear();
        if (op.chunks > 0) routing::divide_evenly(self.tables_.block, op.chunks, self.bounds_);
        device::route(lane.stream, block(self.bounds_), part<std::int32_t>(op.ids), part<float>(op.weights),
                      num_tokens, part<std::int32_t>(op.counts), all<std::int32_t>(op.send_order),
                      all<std::int32_t>(op.sent_slots), scratch().compute_maps());
    }
    void operator()(const plan::ExchangeCounts& op) const {
        const Rows own = rows(op.counts), everyone = rows(op.all_counts);
        const std::int64_t bytes = own.num_rows * own.num_cols * bytes_of(own.dtype);
        self.sends_.clear();
        self.receives_.clear();
        for (std::int64_t peer = 0; peer < lane.exchange->size(); ++peer) {
            self.sends_.push_back({peer, own.data, bytes});
            self.receives_.push_back({peer, everyone.data + peer * bytes, bytes});
        }
        lane.exchange->exchange(self.sends_, self.receives_, lane.stream);
    }
    void operator()(const plan::AllToAll& op) const { exchange(op.sends, op.in, op.receives, op.out); }
    void operator()(const plan::MapRows& op) const {
        const device::DeviceReduceMaps reduce{.starts = all<std::int32_t>(op.reduce_starts),
                                              .index = all<std::int32_t>(op.reduce_index),
                                              .weights = all<float>(op.reduce_weights)};
        auto* const order = all<std::int32_t>(op.expert_order);
        if (op.arrived_slots.buffer == plan::kNoBuffer) {
            device::map_rows_at_home(lane.stream, block({}), part<std::int32_t>(op.ids),
                                     part<float>(op.weights), op.ids.rows.size(), order, reduce,
                                     scratch().compute_maps());
            return;
        }
        device::map_rows(lane.stream, block_of_numbers(op.chunk_bounds), self.tables_.position.ep,
                         all<std::int32_t>(op.all_counts), self.tables_.block.num_ranks(),
                         all<std::int32_t>(op.arrived_slots.buffer), rows(op.arrived_slots.buffer).num_rows,
                         self.most_tokens_, rows(op.reduce_starts).num_rows - 1, order, reduce,
                         scratch().dispatch_maps());
    }
    void operator()(const plan::MapHome& op) const {
        device::map_home(lane.stream, block_of_numbers(op.chunk_bounds), part<std::int32_t>(op.ids),
                         op.ids.rows.size(), all<std::int32_t>(op.starts), all<std::int32_t>(op.index),
                         scratch().dispatch_maps());
    }
    void operator()(const plan::PackRows& op) const {
        device::gather_ranges(lane.stream, rows(op.in), all<std::int32_t>(op.index), numbers(op.ranges),
                              rows(op.out), apart(op.stay));
    }
    const std::vector<device::ExpertShare>& experts_of(const plan::ExpertGemm& op) const {
        const auto offsets = numbers(op.offsets);
        self.experts_.clear();
        for (std::int64_t e = op.experts.begin; e < op.experts.end; ++e) {
            const std::size_t i = at(e - op.experts.begin);
            self.experts_.push_back({weight(op.weight, e).data, {offsets[i], offsets[i + 1]}});
        }
        return self.experts_;
    }
    static kernels::GemmKind kind_of(const plan::ExpertGemm& op) {
        return op.kind == plan::GemmKind::dense ? kernels::GemmKind::dense : kernels::GemmKind::group;
    }
    // A product that is followed by SwiGLU writes its output; then nothing is left of that op.
    void list(const plan::ExpertGemm& op) const {
        device::Gemms& gemms = scratch().gemms();
        const auto which =
            op.which == plan::ExpertWeight::gate_up ? device::Gemms::kFirstList : device::Gemms::kSecondList;
        const std::size_t place = at(current.id - self.announced_.begin);
        const plan::Swiglu* const swiglu = plan::activation_of(self.plan_, current);
        if (swiglu != nullptr && place + 1 < self.listed_.size()) {
            const Rows out = rows(swiglu->out.buffer);
            if (device::Gemms::takes_swiglu(rows(op.in), kind_of(op), out)) {
                self.listed_[place] =
                    gemms.list(which, rows(op.in), experts_of(op), kind_of(op), out, device::Then::swiglu);
                self.listed_[place + 1] = device::Gemms::Listed{};
                return;
            }
        }
        self.listed_[place] = gemms.list(which, rows(op.in), experts_of(op), kind_of(op), rows(op.out));
    }
    void operator()(const plan::ExpertGemm& op) const {
        if (self.listed_.empty()) self.send_lists(lane);
        if (const auto& listed = self.listed_.at(at(current.id - self.announced_.begin))) {
            scratch().gemms().run(lane.stream, *listed, num_sms());
            return;
        }
        scratch().gemms().expert_gemm(lane.stream, rows(op.in), experts_of(op), kind_of(op), rows(op.out),
                                      num_sms());
    }
    void operator()(const plan::Swiglu& op) const {
        if (!self.listed_.empty() && self.listed_.at(at(current.id - self.announced_.begin))) return;
        const Rows in = rows(op.in), out = rows(op.out);
        const bool of_experts = op.in.buffer == self.tables_.buffers.expert_up;
        const auto run = of_experts && device::is_interleaved(in.dtype, in.num_cols)
                             ? device::swiglu_interleaved
                             : device::swiglu;
        run(lane.stream, in, out);
    }
    void operator()(const plan::LocalReduce& op) const {
        device::Apart stay = apart(op.stay);
        stay.rows.begin -= op.out.rows.begin;
        stay.rows.end -= op.out.rows.begin;
        device::local_reduce(lane.stream, rows(op.in), all<std::int32_t>(op.starts) + op.out.rows.begin,
                             all<std::int32_t>(op.index), all<float>(op.weights), rows(op.out), stay);
    }
    void operator()(const plan::UnpackSum& op) const {
        const Rows out = rows(op.out);
        const bool mapped = op.starts != plan::kNoBuffer;
        const Rows shared = op.shared == plan::kNoBuffer ? Rows{} : rows(op.shared).slice(0, out.num_rows);
        device::unpack_sum(lane.stream, rows(op.in), mapped ? all<std::int32_t>(op.starts) : nullptr,
                           mapped ? all<std::int32_t>(op.index) : nullptr,
                           op.shared == plan::kNoBuffer ? nullptr : &shared, op.residual ? &out : nullptr,
                           out);
    }
    void operator()(const plan::ReduceScatter& op) const {
        exchange(op.sends, op.in, op.receives, op.scratch);
        self.parts_.clear();
        const std::int64_t own = op.own_rows.size();
        for (std::int64_t p = 0; p <= op.sends.size(); ++p)
            self.parts_.push_back(p == op.self ? rows({op.in, op.own_rows})
                                               : rows({op.scratch, {p * own, (p + 1) * own}}));
        if (own > 0) device::sum_rows(lane.stream, self.parts_, rows(op.out));
    }
    void operator()(const plan::AllGather& op) const {
        exchange(op.sends, op.buffer, op.receives, op.buffer);
    }
    void operator()(const plan::Send& op) const {
        const std::array out{message(op.peer, op.rows)};
        lane.exchange->exchange(out, {}, lane.stream);
    }
    void operator()(const plan::Receive& op) const {
        const std::array in{message(op.peer, op.rows)};
        lane.exchange->exchange({}, in, lane.stream);
    }
};

void OpRunner::announce(Range ops) {
    announced_ = ops;
    listed_.clear();
}

void OpRunner::prepare(const plan::Op& op, const LanePlace& lane) {
    const auto* const map = std::get_if<plan::MapRows>(&op.args);
    if (map == nullptr || map->chunk_bounds.empty()) return;
    const Range range = sent_numbers_ = map->chunk_bounds;
    scratch_.lists().send({plan_.numbers.data() + range.begin, at(range.size())}, scratch_.chunk_bounds(),
                          lane.stream);
}

void OpRunner::send_lists(const LanePlace& lane) {
    device::Gemms& gemms = scratch_.gemms();
    listed_.assign(at(announced_.size()), std::nullopt);
    std::byte* const host = scratch_.lists().take(gemms.lists_bytes());
    if (host == nullptr) return;  // products write their lists themselves
    gemms.begin_lists(host);
    for (std::int64_t i = announced_.begin; i < announced_.end; ++i) {
        const plan::Op& op = plan_.ops[at(i)];
        if (const auto* const product = std::get_if<plan::ExpertGemm>(&op.args))
            Visitor{*this, op, lane}.list(*product);
    }
    gemms.send_lists(lane.stream);
}

void OpRunner::run(const plan::Op& op, const LanePlace& lane) {
    std::visit(Visitor{*this, op, lane}, op.args);
}

}  // namespace eps::backend::cuda
