#include "plan/print.hpp"

#include "plan/fields.hpp"
#include "plan/hash.hpp"

#include <algorithm>
#include <iterator>
#include <string_view>
#include <type_traits>
#include <utility>

#include <fmt/format.h>

namespace eps::plan {

namespace {

constexpr const char* kSegmentNames[] = {"stage_in", "embed",   "attention", "dense",
                                         "gate",     "experts", "head",      "stage_out"};
static_assert(std::size(kSegmentNames) == static_cast<std::size_t>(SegmentKind::stage_out) + 1);

/// Collects the text of one op.
class OpText {
  public:
    OpText(const RankPlan& plan, std::string& text) : plan_(plan), text_(text) {}

    void slice(const char* field, Slice slice, Access access) {
        const bool sent = std::string_view(field) == "rows";  // point to point: all that there is to say
        if ((access == Access::write || sent) && slice.buffer != kNoBuffer)
            append(" {} {}:{}", name(slice.buffer), slice.rows.begin, slice.rows.end);
    }
    void buffer(const char*, BufferId buffer, Access access) {
        if (access == Access::write && buffer != kNoBuffer) append(" {}", name(buffer));
    }
    void rows(const char*, Range numbers, BufferId buffer, Access access) {
        if (access != Access::write) return;
        append(" {}", name(buffer));
        for (std::int64_t i = numbers.begin; i < numbers.end; i += 2)
            append("{}{}:{}", i == numbers.begin ? " " : "+", number(i), number(i + 1));
    }
    void steps(const char*, Range numbers, BufferId buffer, Access access) {
        if (access != Access::write) return;
        append(" {}", name(buffer));
        for (std::int64_t i = numbers.begin; i < numbers.end; ++i)
            append("{}{}", i == numbers.begin ? " " : ":", number(i));
    }
    void sends(const char*, Range transfers, BufferId buffer) {
        append(", {} to", name(buffer));
        peers(transfers);
    }
    void receives(const char*, Range transfers, BufferId buffer) {
        append(", {} from", name(buffer));
        peers(transfers);
    }
    void numbers(const char* name, Range numbers) {
        if (std::string_view(name) == "starts") append(", {} sequences", numbers.size() - 1);
    }
    void value(const char* field, Range range) { append(", {} {}:{}", field, range.begin, range.end); }
    void value(const char*, GemmKind kind) { append(", {}", kind == GemmKind::group ? "group" : "dense"); }
    template <typename T>
    void value(const char* field, T value) {  // of the plain numbers only the peer differs between equal ops
        if constexpr (std::is_same_v<T, std::int64_t>)
            if (std::string_view(field) == "peer") append(", {} {}", field, value);
    }

  private:
    template <typename... Args>
    void append(fmt::format_string<Args...> format, Args&&... args) {
        fmt::format_to(std::back_inserter(text_), format, std::forward<Args>(args)...);
    }
    const std::string& name(BufferId buffer) const {
        return plan_.buffers[static_cast<std::size_t>(buffer)].name;
    }
    std::int64_t number(std::int64_t i) const { return plan_.numbers[static_cast<std::size_t>(i)]; }
    void peers(Range transfers) {
        for (std::int64_t i = transfers.begin; i < transfers.end; ++i) {
            const Transfer& transfer = plan_.transfers[static_cast<std::size_t>(i)];
            append(" {}={}", transfer.peer, transfer.rows.size());
        }
    }

    const RankPlan& plan_;
    std::string& text_;
};

void append_op(const RankPlan& plan, const Op& op, std::string& text) {
    text += fmt::format("{} {}", op.id, name_of(op.args));
    for_each_field(op.args, OpText(plan, text));
    for (std::int64_t i = op.after.begin; i < op.after.end; ++i)
        text += fmt::format("{}{}", i == op.after.begin ? ", after " : " ",
                            plan.after[static_cast<std::size_t>(i)]);
}

// Bytes of all buffers of a kind.
std::int64_t bytes_of(const RankPlan& plan, BufferKind kind) {
    std::int64_t bytes = 0;
    for (const Buffer& buffer : plan.buffers)
        if (buffer.kind == kind) bytes += buffer.bytes();
    return bytes;
}

}  // namespace

std::string to_string(const Segment& segment) {
    std::string text = kSegmentNames[static_cast<std::size_t>(segment.kind)];
    if (segment.layer >= 0) text += fmt::format(", layer {}", segment.layer);
    if (segment.micro_batch > 0) text += fmt::format(", micro-batch {}", segment.micro_batch);
    return text;
}

std::string print(const RankPlan& plan) {
    std::string text = fmt::format(
        "{} ops on {} lanes, {} edges, hash {:016x}; {} bytes of weights, {} of inputs, {} of work\n",
        plan.ops.size(), plan.lanes.size(), plan.after.size(), hash_of(plan),
        bytes_of(plan, BufferKind::weight), bytes_of(plan, BufferKind::input),
        bytes_of(plan, BufferKind::work));
    std::size_t width = 0;
    for (const Lane& lane : plan.lanes) width = std::max(width, lane.name.size());
    std::vector<std::string> of_lane(plan.lanes.size());
    auto op = plan.ops.begin();
    for (std::size_t segment = 0; segment < plan.segments.size(); ++segment) {
        for (; op != plan.ops.end() && op->segment == static_cast<std::int32_t>(segment); ++op) {
            std::string& line = of_lane[static_cast<std::size_t>(op->lane)];
            if (!line.empty()) line += " | ";
            append_op(plan, *op, line);
        }
        text += to_string(plan.segments[segment]) + "\n";
        for (std::size_t lane = 0; lane < of_lane.size(); ++lane) {
            if (of_lane[lane].empty()) continue;
            text += fmt::format("  {:<{}}  {}\n", plan.lanes[lane].name, width, of_lane[lane]);
            of_lane[lane].clear();
        }
    }
    return text;
}

}  // namespace eps::plan
