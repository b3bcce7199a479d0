#include "trace/timeline.hpp"

#include "base/error.hpp"
#include "base/output_path.hpp"
#include "plan/op.hpp"

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <string_view>
#include <tuple>
#include <utility>

#include <fmt/core.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace eps::trace {
namespace {

std::string json_text(std::string_view text) {
    return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

/// Microseconds, exact.
std::string microseconds(std::int64_t ns) {
    return fmt::format("{}{}.{:03}", ns < 0 ? "-" : "", std::abs(ns) / 1000, std::abs(ns) % 1000);
}

/// Viewers merge tracks of equal id across processes, treat 0 as an idle thread, and take the id that equals
/// the process for its main thread: so ids are unique in the document, above all ranks.
std::int64_t track_of(std::int64_t rank, std::int64_t lane, std::int64_t num_ranks) {
    constexpr std::int64_t kMostLanes = 1000;
    return num_ranks + rank * kMostLanes + lane + 1;
}

/// Spans by lane and begin, checked.
std::vector<Span> ordered(const RankTrace& trace, std::int64_t rank) {
    std::vector<Span> spans = trace.spans;
    std::ranges::sort(spans, {},
                      [](const Span& s) { return std::tuple(s.lane, s.begin_ns, s.end_ns, s.op); });
    const Span* previous = nullptr;
    for (const Span& span : spans) {
        if (span.lane < 0 || static_cast<std::size_t>(span.lane) >= trace.lanes.size() || span.kind < 0 ||
            static_cast<std::size_t>(span.kind) >= std::size(plan::kOpNames) || span.end_ns < span.begin_ns) {
            throw Error(Exit::internal,
                        fmt::format("rank {}: the span of op {} has lane {}, kind {} and {} ns", rank,
                                    span.op, span.lane, span.kind, span.end_ns - span.begin_ns));
        }
        if (previous != nullptr && previous->lane == span.lane && span.begin_ns < previous->end_ns) {
            throw Error(Exit::internal, fmt::format("rank {}: ops {} and {} ran at the same time on lane {}",
                                                    rank, previous->op, span.op,
                                                    trace.lanes[static_cast<std::size_t>(span.lane)].name));
        }
        previous = &span;
    }
    std::ranges::stable_sort(spans, {}, &Span::begin_ns);
    return spans;
}

class Writer {
  public:
    explicit Writer(const Timeline& timeline) : timeline_(timeline) {
        text_ = fmt::format(
            "{{\"displayTimeUnit\": \"ms\",\n\"otherData\": {{\"case\": {}}},\n\"traceEvents\": [",
            json_text(timeline.case_name));
        for (std::size_t rank = 0; rank < timeline.ranks.size(); ++rank)
            write_names(static_cast<std::int64_t>(rank));
        for (std::size_t rank = 0; rank < timeline.ranks.size(); ++rank)
            write_events(static_cast<std::int64_t>(rank));
        text_ += "\n]}\n";
    }

    std::string take() { return std::move(text_); }

  private:
    const RankTrace& trace_of(std::int64_t rank) const {
        return timeline_.ranks[static_cast<std::size_t>(rank)];
    }

    std::int64_t track(std::int64_t rank, std::int64_t lane) const {
        return track_of(rank, lane, static_cast<std::int64_t>(timeline_.ranks.size()));
    }

    void line(const std::string& event) {
        text_ += first_ ? "\n" : ",\n";
        text_ += event;
        first_ = false;
    }

    void metadata(std::string_view name, std::int64_t rank, std::int64_t track_id, const std::string& args) {
        line(fmt::format("{{\"ph\": \"M\", \"name\": \"{}\", \"pid\": {}, \"tid\": {}, \"args\": {{{}}}}}",
                         name, rank, track_id, args));
    }

    void write_names(std::int64_t rank) {
        const RankTrace& trace = trace_of(rank);
        const std::string name =
            trace.host.empty() ? fmt::format("rank {}", rank) : fmt::format("rank {} ({})", rank, trace.host);
        metadata("process_name", rank, track(rank, 0), fmt::format("\"name\": {}", json_text(name)));
        metadata("process_sort_index", rank, track(rank, 0), fmt::format("\"sort_index\": {}", rank));
        for (std::size_t i = 0; i < trace.lanes.size(); ++i) {
            const auto lane = static_cast<std::int64_t>(i);
            metadata("thread_name", rank, track(rank, lane),
                     fmt::format("\"name\": {}", json_text(trace.lanes[i].name)));
            metadata("thread_sort_index", rank, track(rank, lane), fmt::format("\"sort_index\": {}", lane));
        }
    }

    void write_events(std::int64_t rank) {
        const RankTrace& trace = trace_of(rank);
        for (const Span& span : ordered(trace, rank)) {
            std::string args = fmt::format("\"op\": {}", span.op);
            if (span.layer >= 0) args += fmt::format(", \"layer\": {}", span.layer);
            args += fmt::format(", \"micro_batch\": {}", span.micro_batch);
            if (span.op >= 0 && static_cast<std::size_t>(span.op) < trace.op_texts.size()) {
                args += fmt::format(", \"text\": {}",
                                    json_text(trace.op_texts[static_cast<std::size_t>(span.op)]));
            }
            line(fmt::format(
                "{{\"ph\": \"X\", \"name\": \"{}\", \"cat\": \"{}\", \"pid\": {}, \"tid\": {}, \"ts\": {}, "
                "\"dur\": {}, \"args\": {{{}}}}}",
                plan::kOpNames[span.kind],
                trace.lanes[static_cast<std::size_t>(span.lane)].exchange ? "exchange" : "compute", rank,
                track(rank, span.lane), microseconds(span.begin_ns - trace.begin_ns),
                microseconds(span.end_ns - span.begin_ns), args));
        }
    }

    const Timeline& timeline_;
    std::string text_;
    bool first_ = true;
};

}  // namespace

std::string timeline_text(const Timeline& timeline) {
    return Writer(timeline).take();
}

void write_timeline(const std::string& path, bool overwrite, const Timeline& timeline) {
    write_output_file(path, "timeline", overwrite, timeline_text(timeline));
}

}  // namespace eps::trace
