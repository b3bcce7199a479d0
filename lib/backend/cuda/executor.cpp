#include "backend/cuda/executor.hpp"

#include "base/exit_status.hpp"
#include "plan/builder.hpp"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>
#include <nvtx3/nvToolsExt.h>

namespace eps::backend::cuda {

namespace {

constexpr std::int64_t kStagingBytes = std::int64_t{1} << 20;

// The transports of all cases, each once, in an order that all ranks have.
std::vector<Transport> transports_of(const Cases& cases, bool one_host) {
    std::vector<Transport> transports;
    for (const PassRunner* runner : cases)
        transports.push_back(transport_of(runner->tables().setup.schedule, one_host));
    std::ranges::sort(transports);
    transports.erase(std::unique(transports.begin(), transports.end()), transports.end());
    return transports;
}

// The host waits for the counts that these bring, while later ops of their lane go on.
bool is_awaited(const plan::Op& op) {
    return std::holds_alternative<plan::Route>(op.args) ||
           std::holds_alternative<plan::ExchangeCounts>(op.args);
}

// What the host reads of them, where they are awaited: all counts, or where rows stay at home the own ones.
plan::Slice awaited_counts(const plan::Op& op, const schedule::Tables& tables) {
    if (const auto* exchange = std::get_if<plan::ExchangeCounts>(&op.args)) return exchange->all_counts;
    const auto* route = std::get_if<plan::Route>(&op.args);
    return route != nullptr && tables.replicated ? route->counts : plan::Slice{};
}

// Row maps: many launches each, whose arguments are the same in every pass with as many chunks.
bool is_map(const plan::Op& op) {
    return std::holds_alternative<plan::MapRows>(op.args) || std::holds_alternative<plan::MapHome>(op.args);
}

std::int64_t num_bounds(const plan::Op& op) {
    if (const auto* rows = std::get_if<plan::MapRows>(&op.args)) return rows->chunk_bounds.size();
    const auto* home = std::get_if<plan::MapHome>(&op.args);
    return home == nullptr ? 0 : home->chunk_bounds.size();
}

std::int64_t most_bytes_of_counts(const Cases& cases) {
    std::int64_t bytes = 0;
    for (const PassRunner* runner : cases) {
        const schedule::Tables& tables = runner->tables();
        const std::int64_t sources = tables.replicated ? 1 : tables.block.num_ranks();
        bytes = std::max(bytes, sources * tables.spec().n_routed_experts *
                                    routing::num_count_fields(tables.per_chunk) * 4);
    }
    return bytes;
}

void require_free(std::int64_t bytes) {
    std::size_t free = 0, total = 0;
    check(cudaMemGetInfo(&free, &total), "asking for free GPU memory");
    if (bytes > static_cast<std::int64_t>(free))
        throw Error(
            Exit::resource,
            fmt::format("{} bytes of GPU memory are needed beside the weights, {} of {} are free; use "
                        "fewer layers or tokens, or more GPUs",
                        bytes, free, total));
}

}  // namespace

CudaExecutor::CudaExecutor(const BackendSetup& setup, const Cases& cases, const Weights& weights,
                           bool one_host)
    : setup_(setup),
      weights_(weights),
      one_host_(one_host),
      staging_(kStagingBytes),
      counts_(std::max<std::int64_t>(1, most_bytes_of_counts(cases))),
      progress_(setup.board) {
    rooms_ = std::make_unique<Rooms>(cases, setup.load_margin);
    Layout layout;
    layout.take(rooms_->bytes());
    scratch_ = std::make_unique<Scratch>(cases, layout);
    require_free(layout.bytes());
    arena_ = DeviceBytes(layout.bytes(), "the buffers of a pass");
    // What is not written is read by nobody; zeros make a mistake the same every time.
    check(cudaMemset(arena_.data(), 0, at(arena_.size())), "clearing the buffers");
    scratch_->place(arena_.data(), cases);
    check(cudaStreamCreateWithFlags(&copies_, cudaStreamNonBlocking), "making a stream");
    check(cudaDeviceSynchronize(), "preparing the buffers");
    exchanges_ = std::make_unique<Exchanges>(*setup.world, cases.front()->tables().setup.placement,
                                             transports_of(cases, one_host), wire_, arena_.data(),
                                             arena_.size(), [this] { progress_.look(); });
    peak_bytes_ = allocated_bytes();
}

CudaExecutor::~CudaExecutor() {
    cudaDeviceSynchronize();
    exchanges_.reset();
    cudaStreamDestroy(copies_);
}

std::int64_t CudaExecutor::allocated_bytes() const {
    std::int64_t bytes = weights_.bytes() + arena_.size();
    for (const auto& [plan, binding] : bindings_) {
        bytes += binding.inputs.size();
        for (const auto& [buffer, kept] : binding.kept) bytes += kept.size();
    }
    return bytes;
}

void CudaExecutor::bind(const plan::RankPlan& plan, const schedule::Tables& tables) {
    if (&plan != plan_) last_of_lane_.clear();  // of another plan, all done
    in_counts_ = plan::kNoBuffer;
    plan_ = &plan;
    tables_ = &tables;
    wire_.use(tables.setup.link);
    wire_.set_clock();
    bound_ = &bindings_[&plan];
    if (bound_->runner == nullptr) make_binding(*bound_);
    peak_bytes_ = std::max(peak_bytes_, allocated_bytes());
}

void CudaExecutor::make_binding(Binding& binding) {
    binding.runner = std::make_unique<OpRunner>(*plan_, *tables_, weights_, *scratch_);
    Layout inputs;
    for (const plan::Buffer& buffer : plan_->buffers)
        if (buffer.kind == plan::BufferKind::input) inputs.take(buffer.bytes());
    binding.inputs = DeviceBytes(inputs.bytes(), "the inputs of a case");
    Layout placed;
    for (std::size_t i = 0; i < plan_->buffers.size(); ++i) {
        const plan::Buffer& buffer = plan_->buffers[i];
        std::byte* data = nullptr;
        std::int64_t num_rows = buffer.rows;
        if (buffer.kind == plan::BufferKind::input) {
            data = binding.inputs.data() + placed.take(buffer.bytes());
        } else if (buffer.kind == plan::BufferKind::work) {
            const Room& room = rooms_->of(buffer);
            data = arena_.data() + room.offset;
            num_rows = room.rows;
        }
        binding.num_rows.push_back(num_rows);
        binding.runner->place(static_cast<plan::BufferId>(i),
                              {data, buffer.dtype, num_rows, buffer.cols, buffer.cols});
    }
    for (std::size_t i = 0; i < plan_->lanes.size(); ++i) {
        const plan::Lane& lane = plan_->lanes[i];
        binding.lanes.push_back({.stream = lane.exchange ? exchange_[i] : compute_[i]});
        binding.lane_names.push_back(setup_.board == nullptr ? "" : setup_.board->kept(lane.name));
    }
    exchanges_->give(tables_->lanes, transport_of(tables_->setup.schedule, one_host_), binding.lanes);
}

void CudaExecutor::unbind(const plan::RankPlan& plan) {
    finish();
    bindings_.erase(&plan);
}

void CudaExecutor::begin_pass(bool traced) {
    traced_ = traced;
    in_counts_ = plan::kNoBuffer;
    progress_.forget();
    marks_.begin_pass();
    scratch_->lists().reset();
    last_of_lane_.assign(at(plan::kMaxLanes), -1);
    if (traced) spans_.begin_pass(copies_);
}

// Rows beyond the room that was planned are never dropped.
void CudaExecutor::require_room(const plan::Op& op) const {
    for (std::int64_t u = op.uses.begin; u < op.uses.end; ++u) {
        const plan::BufferUse& use = plan_->uses[at(u)];
        if (use.rows.end <= bound_->num_rows[at(use.buffer)]) continue;
        const plan::Buffer& buffer = plan_->buffers[at(use.buffer)];
        const std::int64_t row_bytes = buffer.cols * bytes_of(buffer.dtype);
        throw Error(
            Exit::resource,
            fmt::format("layer {}: {} rows ({} bytes) of {} are routed to rank {}, there is room for {} "
                        "({} bytes); a larger --load-margin gives more",
                        plan_->segments[at(op.segment)].layer, use.rows.end, use.rows.end * row_bytes,
                        buffer.name, tables_->position.rank, bound_->num_rows[at(use.buffer)],
                        bound_->num_rows[at(use.buffer)] * row_bytes));
    }
}

// Ops that get an event: those that an op of another lane waits for, those the host waits for, and the last
// one of each lane, for what is still to come.
void CudaExecutor::find_marked(Range ops) {
    marked_.assign(at(ops.size()), false);
    for (std::int64_t i = ops.begin; i < ops.end; ++i) {
        const plan::Op& op = plan_->ops[at(i)];
        for (std::int64_t a = op.after.begin; a < op.after.end; ++a)
            if (const plan::OpId before = plan_->after[at(a)]; before >= ops.begin)
                marked_[at(before - ops.begin)] = true;
        if (is_awaited(op)) marked_[at(i - ops.begin)] = true;
        last_of_lane_[at(op.lane)] = op.id;
    }
    for (const plan::OpId last : last_of_lane_)
        if (last >= ops.begin) marked_[at(last - ops.begin)] = true;
}

void CudaExecutor::submit(Range ops) {
    try {
        find_marked(ops);
        bound_->runner->announce(ops);
        for (std::int64_t begin = ops.begin; begin < ops.end;) {
            const Stretch next = stretch_from(begin, ops);
            begin = next.ops.end;
            run(next, marked_[at(begin - 1 - ops.begin)]);
        }
    } catch (const std::exception& error) {
        fail(error);
    }
}

// Peers wait for this rank. Says at which op, unless it is about memory, where the message names more.
void CudaExecutor::fail(const std::exception& error) {
    const Exit status = status_of(error);
    const Error told(status, status == Exit::resource
                                 ? text_of(error)
                                 : fmt::format("{}; under way: {}", text_of(error), progress_.under_way()));
    if (setup_.on_failure) setup_.on_failure(told);
    throw told;
}

// Shapes and arguments that are the same in every pass, and nothing that the host takes part in.
bool CudaExecutor::may_be_recorded(const plan::Op& op) const {
    if (is_map(op)) return true;
    const plan::SegmentKind kind = plan_->segments[at(op.segment)].kind;
    if (kind != plan::SegmentKind::attention && kind != plan::SegmentKind::dense &&
        kind != plan::SegmentKind::gate)
        return false;
    if (const auto* route = std::get_if<plan::Route>(&op.args)) return route->chunks == 0;  // no list
    return bound_->lanes[at(op.lane)].exchange == nullptr;
}

// Recorded are ops of one lane that may be, of which only the first waits for others and only the last is
// waited for.
CudaExecutor::Stretch CudaExecutor::stretch_from(std::int64_t begin, Range ops) const {
    constexpr std::int64_t kLeastLaunches = 3;
    const Stretch one_op{{begin, begin + 1}, false};
    if (!setup_.graphs || traced_) return one_op;
    std::int64_t end = begin, launches = 0;
    while (end < ops.end) {
        const plan::Op& op = plan_->ops[at(end)];
        if (!may_be_recorded(op)) break;
        if (end > begin &&
            (op.lane != plan_->ops[at(begin)].lane || !op.after.empty() || marked_[at(end - 1 - ops.begin)]))
            break;
        launches += is_map(op) ? kLeastLaunches : 1;
        ++end;
    }
    return launches < kLeastLaunches ? one_op : Stretch{{begin, end}, true};
}

void CudaExecutor::wait_for_others(const plan::Op& op) {
    for (std::int64_t a = op.after.begin; a < op.after.end; ++a) {
        const plan::OpId before = plan_->after[at(a)];
        const plan::LaneId other = plan_->ops[at(before)].lane;
        cudaEvent_t event = marks_.after(other, before);
        if (event == nullptr) event = marks_.mark(other, before, bound_->lanes[at(other)].stream);
        check(cudaStreamWaitEvent(bound_->lanes[at(op.lane)].stream, event), "making a lane wait");
    }
}

void CudaExecutor::run(const Stretch& stretch, bool marked) {
    const Range ops = stretch.ops;
    const plan::Op &first = plan_->ops[at(ops.begin)], &last = plan_->ops[at(ops.end - 1)];
    for (std::int64_t i = ops.begin; i < ops.end; ++i) require_room(plan_->ops[at(i)]);
    const LanePlace& lane = bound_->lanes[at(last.lane)];
    wait_for_others(first);
    const char* const kind = plan::kOpNames[last.args.index()].data();
    nvtxRangePushA(kind);
    const auto waits = lane.exchange == nullptr ? comm::Waits::for_nobody : comm::Waits::for_peers;
    if (marked) progress_.begin(last.lane, bound_->lane_names[at(last.lane)], kind, last.id, waits);
    if (traced_) {
        const plan::Segment& segment = plan_->segments[at(last.segment)];
        spans_.begin(lane.stream, {.rank = static_cast<std::int32_t>(tables_->position.rank),
                                   .lane = last.lane,
                                   .op = last.id,
                                   .kind = static_cast<std::int32_t>(last.args.index()),
                                   .layer = static_cast<std::int32_t>(segment.layer),
                                   .micro_batch = static_cast<std::int32_t>(segment.micro_batch),
                                   .begin_ns = 0,
                                   .end_ns = 0});
    }
    for (std::int64_t i = ops.begin; i < ops.end; ++i) bound_->runner->prepare(plan_->ops[at(i)], lane);
    if (stretch.recorded) {
        enqueue(ops);
    } else {
        bound_->runner->run(last, lane);
    }
    if (traced_) spans_.end(lane.stream);
    copy_awaited_counts(last);
    if (marked) progress_.enqueued(last.lane, marks_.mark(last.lane, last.id, lane.stream));
    nvtxRangePop();
}

// Op by op in the first pass, in which libraries load and choose; recorded in the second.
void CudaExecutor::enqueue(Range ops) {
    const LanePlace& lane = bound_->lanes[at(plan_->ops[at(ops.begin)].lane)];
    const auto one_by_one = [&] {
        for (std::int64_t i = ops.begin; i < ops.end; ++i) bound_->runner->run(plan_->ops[at(i)], lane);
    };
    const plan::Op& first = plan_->ops[at(ops.begin)];
    const plan::Segment& segment = plan_->segments[at(first.segment)];
    std::int64_t begin = ops.begin;
    while (begin > 0 && plan_->ops[at(begin - 1)].segment == first.segment) --begin;
    std::int64_t bounds = 0;
    for (std::int64_t i = ops.begin; i < ops.end; ++i)
        bounds = std::max(bounds, num_bounds(plan_->ops[at(i)]));
    const auto [known, is_new] = bound_->graphs.try_emplace(
        {segment.kind, segment.layer, segment.micro_batch, ops.begin - begin, ops.size(), bounds});
    Graph& graph = known->second;
    if (is_new) {
        one_by_one();
        return;
    }
    if (graph.empty()) graph.record(lane.stream, one_by_one);
    graph.launch(lane.stream);
}

// The host finds them when the event behind the op has passed, without a copy of its own.
void CudaExecutor::copy_awaited_counts(const plan::Op& op) {
    const plan::Slice slice = awaited_counts(op, *tables_);
    if (slice.buffer == plan::kNoBuffer) return;
    const Rows rows = bound_->runner->rows_of(slice.buffer).slice(slice.rows.begin, slice.rows.end);
    const std::int64_t bytes = rows.num_rows * rows.num_cols * bytes_of(rows.dtype);
    check(cudaMemcpyAsync(counts_.data(), rows.data, at(bytes), cudaMemcpyDeviceToHost,
                          bound_->lanes[at(op.lane)].stream),
          "copying counts");
    in_counts_ = slice.buffer;
}

void CudaExecutor::wait(plan::OpId op) {
    const plan::LaneId lane = plan_->ops[at(op)].lane;
    cudaEvent_t event = marks_.after(lane, op);
    if (event == nullptr) event = marks_.mark(lane, op, bound_->lanes[at(lane)].stream);
    const auto check_exchanges = [this] { exchanges_->check(); };
    try {
        progress_.wait(event, check_exchanges);
        check_exchanges();
    } catch (const std::exception& error) {
        fail(error);
    }
}

void CudaExecutor::finish() {
    if (bound_ == nullptr) return;
    for (const plan::OpId last : last_of_lane_)
        if (last >= 0) wait(last);
}

// Through page-locked memory where that holds all of it.
void CudaExecutor::stage(std::byte* device, Rows host, cudaMemcpyKind kind) {
    const auto row_bytes = host.num_cols * bytes_of(host.dtype);
    const auto bytes = at(host.num_rows * row_bytes);
    const bool to_host = kind == cudaMemcpyDeviceToHost;
    if (host.stride == host.num_cols && host.num_rows * row_bytes <= staging_.size()) {
        if (!to_host) std::memcpy(staging_.data(), host.data, bytes);
        std::byte* const from = to_host ? device : staging_.data();
        std::byte* const to = to_host ? staging_.data() : device;
        check(cudaMemcpyAsync(to, from, bytes, kind, copies_), "copying rows");
        check(cudaStreamSynchronize(copies_), "copying rows");
        if (to_host) std::memcpy(host.data, staging_.data(), bytes);
        return;
    }
    const auto host_pitch = at(host.stride * bytes_of(host.dtype)), pitch = at(row_bytes);
    std::byte* const from = to_host ? device : host.data;
    std::byte* const to = to_host ? host.data : device;
    check(cudaMemcpy2DAsync(to, to_host ? host_pitch : pitch, from, to_host ? pitch : host_pitch, pitch,
                            at(host.num_rows), kind, copies_),
          "copying rows");
    check(cudaStreamSynchronize(copies_), "copying rows");
}

// From the GPU's own memory: the pause between passes stays short, so that they are measured as sustained
// work.
void CudaExecutor::write_again(Rows from, plan::Slice to) {
    if (to.rows.empty() || from.num_cols == 0) return;
    const Rows target = bound_->runner->rows_of(to.buffer).slice(to.rows.begin, to.rows.end);
    const std::int64_t bytes = from.num_rows * from.num_cols * bytes_of(from.dtype);
    DeviceBytes& kept = bound_->kept[to.buffer];
    if (kept.size() == 0) {
        kept = DeviceBytes(bytes, "rows that passes begin with");
        stage(kept.data(), from, cudaMemcpyHostToDevice);
        peak_bytes_ = std::max(peak_bytes_, allocated_bytes());
    }
    check(cudaMemcpyAsync(target.data, kept.data(), at(bytes), cudaMemcpyDeviceToDevice, copies_),
          "copying rows");
    check(cudaStreamSynchronize(copies_), "copying rows");
}

void CudaExecutor::read(plan::Slice from, Rows to) {
    if (from.rows.empty() || to.num_cols == 0) return;
    if (from.buffer == in_counts_) {
        const std::int64_t row_bytes = to.num_cols * bytes_of(to.dtype);
        const std::byte* const counts = counts_.data() + from.rows.begin * row_bytes;
        std::memcpy(to.data, counts, at(to.num_rows * row_bytes));
        return;
    }
    stage(bound_->runner->rows_of(from.buffer).slice(from.rows.begin, from.rows.end).data, to,
          cudaMemcpyDeviceToHost);
}

void CudaExecutor::write(Rows from, plan::Slice to) {
    if (to.rows.empty() || from.num_cols == 0) return;
    if (to.rows.end > bound_->num_rows[at(to.buffer)])
        throw Error(Exit::internal, "more input rows than the plan declares");
    stage(bound_->runner->rows_of(to.buffer).slice(to.rows.begin, to.rows.end).data, from,
          cudaMemcpyHostToDevice);
}

}  // namespace eps::backend::cuda
