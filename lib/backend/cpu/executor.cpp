#include "backend/cpu/executor.hpp"

#include "backend/cpu/lane_priority.hpp"

#include <algorithm>
#include <cstring>

namespace eps::backend::cpu {

namespace {

std::int64_t row_bytes(const plan::Buffer& buffer) {
    return buffer.cols * bytes_of(buffer.dtype);
}

void copy_rows(Rows from, Rows to) {
    const auto bytes = at(from.num_cols * bytes_of(from.dtype));
    for (std::int64_t i = 0; i < from.num_rows; ++i)
        std::memcpy(to.row<std::byte>(0) + i * to.stride * bytes_of(to.dtype),
                    from.row<std::byte>(0) + i * from.stride * bytes_of(from.dtype), bytes);
}

}  // namespace

CpuExecutor::CpuExecutor(const ExecutorSetup& setup, const placement::Placement& placement) : setup_(setup) {
    const std::unique_ptr<comm::Communicator> wired = comm::over_wire(setup.world->duplicate(), wire_);
    groups_ = split_into_lane_groups(*wired, placement);
    for (std::int64_t i = 0; i < plan::kMaxLanes; ++i) lanes_.push_back(std::make_unique<Lane>());
    for (auto& lane : lanes_) lane->thread = std::thread([this, &lane = *lane] { run_lane(lane); });
}

CpuExecutor::~CpuExecutor() {
    for (auto& lane : lanes_) {
        {
            const std::lock_guard lock(lane->mutex);
            lane->stop = true;
        }
        lane->woken.notify_one();
        lane->thread.join();
    }
}

CpuExecutor::Storage& CpuExecutor::shared_storage(const plan::Buffer& buffer) {
    return shared_[buffer.name + "/" + std::string(name_of(buffer.dtype)) + "/" +
                   std::to_string(buffer.cols)];
}

void CpuExecutor::bind(const plan::RankPlan& plan, const schedule::Tables& tables) {
    plan_ = &plan;
    tables_ = &tables;
    wire_.use(tables.setup.link);
    Binding& binding = bindings_[&plan];
    bound_ = &binding;
    if (binding.runner == nullptr) {
        binding.runner =
            std::make_unique<OpRunner>(plan, tables, *setup_.weights, *setup_.kernels, setup_.threads);
        for (const plan::Buffer& buffer : plan.buffers) {
            binding.storage.push_back(nullptr);
            if (buffer.kind == plan::BufferKind::work) binding.storage.back() = &shared_storage(buffer);
            if (buffer.kind != plan::BufferKind::input) continue;
            binding.own.push_back(std::make_unique<Storage>());
            binding.storage.back() = binding.own.back().get();
        }
        for (const plan::Lane& lane : plan.lanes)
            binding.lane_names.push_back(setup_.board == nullptr ? "" : setup_.board->kept(lane.name));
        binding.groups.assign(at(plan::kMaxLanes), nullptr);
        const auto lanes = exchange_lanes(tables.lanes);
        for (std::size_t i = 0; i < lanes.size(); ++i)
            if (lanes[i] >= 0) binding.groups[at(lanes[i])] = &groups_[i];
    }
    for (std::size_t i = 0; i < binding.storage.size(); ++i)
        if (binding.storage[i] != nullptr) grow(static_cast<plan::BufferId>(i), plan.buffers[i].rows);
}

void CpuExecutor::unbind(const plan::RankPlan& plan) {
    finish();
    bindings_.erase(&plan);
}

// Makes room for at least `rows`, keeping what is there, and tells the bound case where it is.
void CpuExecutor::grow(plan::BufferId id, std::int64_t rows) {
    const plan::Buffer& buffer = plan_->buffers[at(id)];
    Storage& storage = *bound_->storage[at(id)];
    if (rows > storage.rows) {
        finish();
        CountedBytes larger(*setup_.memory, rows * row_bytes(buffer));
        if (storage.rows > 0)
            std::memcpy(larger.data(), storage.bytes.data(), at(storage.rows * row_bytes(buffer)));
        storage.bytes = std::move(larger);
        storage.rows = rows;
    }
    bound_->runner->place(id, {storage.bytes.data(), buffer.dtype, storage.rows, buffer.cols, buffer.cols});
}

void CpuExecutor::begin_pass(bool traced) {
    traced_ = traced;
    for (auto& lane : lanes_) {
        lane->done = -1;
        lane->last = -1;
        lane->spans.clear();
    }
}

void CpuExecutor::submit(Range ops) {
    for (std::int64_t i = ops.begin; i < ops.end; ++i) {
        const plan::Op& op = plan_->ops[at(i)];
        for (std::int64_t u = op.uses.begin; u < op.uses.end; ++u) {
            const plan::BufferUse& use = plan_->uses[at(u)];
            const Storage* storage = bound_->storage[at(use.buffer)];
            if (storage != nullptr && use.rows.end > storage->rows)
                grow(use.buffer, plan_->buffers[at(use.buffer)].rows);
        }
    }
    for (std::int64_t i = ops.begin; i < ops.end; ++i)
        lanes_[at(plan_->ops[at(i)].lane)]->last = static_cast<plan::OpId>(i);
    for (std::size_t lane_idx = 0; lane_idx < plan_->lanes.size(); ++lane_idx) {
        Lane& lane = *lanes_[lane_idx];
        if (lane.last < ops.begin) continue;  // nothing for this lane
        {
            const std::lock_guard lock(lane.mutex);
            for (std::int64_t i = ops.begin; i < ops.end; ++i)
                if (at(plan_->ops[at(i)].lane) == lane_idx) lane.queue.push_back(static_cast<plan::OpId>(i));
        }
        lane.woken.notify_one();
    }
}

void CpuExecutor::run_lane(Lane& lane) {
    if (&lane == lanes_.front().get()) give_way_to_exchanges();  // every plan's compute lane
    std::vector<plan::OpId> batch;
    for (;;) {
        {
            std::unique_lock lock(lane.mutex);
            lane.woken.wait(lock, [&] { return lane.stop || !lane.queue.empty(); });
            if (lane.queue.empty()) return;
            batch.swap(lane.queue);
        }
        for (const plan::OpId op : batch) run(plan_->ops[at(op)], lane);
        batch.clear();
    }
}

void CpuExecutor::run(const plan::Op& op, Lane& lane) {
    for (std::int64_t i = op.after.begin; i < op.after.end; ++i)
        wait_for(lane_of(plan_->after[at(i)]), plan_->after[at(i)]);
    if (!failed_) {
        LaneGroup* group = bound_->groups[at(op.lane)];
        const char* kind = plan::kOpNames[op.args.index()].data();
        const auto waits = group == nullptr ? comm::Waits::for_nobody : comm::Waits::for_peers;
        const comm::OpInProgress in_progress(setup_.board, op.lane, bound_->lane_names[at(op.lane)], kind,
                                             op.id, waits);
        const std::int64_t begin_ns = traced_ ? comm::steady_now_ns() : 0;
        try {
            bound_->runner->run(op, group);
        } catch (const std::exception& error) {
            if (setup_.on_failure) setup_.on_failure(error);
            fail(std::current_exception());
        }
        if (traced_) {
            const plan::Segment& segment = plan_->segments[at(op.segment)];
            lane.spans.push_back({.rank = static_cast<std::int32_t>(tables_->position.rank),
                                  .lane = op.lane,
                                  .op = op.id,
                                  .kind = static_cast<std::int32_t>(op.args.index()),
                                  .layer = static_cast<std::int32_t>(segment.layer),
                                  .micro_batch = static_cast<std::int32_t>(segment.micro_batch),
                                  .begin_ns = begin_ns,
                                  .end_ns = comm::steady_now_ns()});
        }
    }
    lane.done = op.id;
    lane.done.notify_all();
}

void CpuExecutor::fail(std::exception_ptr error) {
    const std::lock_guard lock(error_mutex_);
    if (error_ == nullptr) error_ = std::move(error);
    failed_ = true;
}

void CpuExecutor::rethrow() const {
    if (!failed_) return;
    const std::lock_guard lock(error_mutex_);
    std::rethrow_exception(error_);
}

void CpuExecutor::wait_for(const Lane& lane, plan::OpId op) const {
    for (plan::OpId seen = lane.done; seen < op; seen = lane.done) lane.done.wait(seen);
}

void CpuExecutor::wait(plan::OpId op) {
    wait_for(lane_of(op), op);
    rethrow();
}

void CpuExecutor::finish() {
    for (const auto& lane : lanes_) wait_for(*lane, lane->last);
    rethrow();
}

void CpuExecutor::read(plan::Slice from, Rows to) {
    if (from.rows.empty()) return;
    copy_rows(bound_->runner->rows_of(from.buffer).slice(from.rows.begin, from.rows.end), to);
}

void CpuExecutor::write(Rows from, plan::Slice to) {
    if (to.rows.empty()) return;
    if (bound_->storage[at(to.buffer)]->rows < to.rows.end) grow(to.buffer, to.rows.end);
    copy_rows(from, bound_->runner->rows_of(to.buffer).slice(to.rows.begin, to.rows.end));
}

std::vector<trace::Span> CpuExecutor::take_spans() {
    std::vector<trace::Span> spans;
    for (auto& lane : lanes_) {
        spans.insert(spans.end(), lane->spans.begin(), lane->spans.end());
        lane->spans.clear();
    }
    return spans;
}

}  // namespace eps::backend::cpu
