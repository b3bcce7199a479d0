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

constexpr std::int64_t kGapNs = 1'000'000;  // between the passes of two cases

class Writer {
  public:
    explicit Writer(const std::vector<Timeline>& timelines) {
        for (const Timeline& timeline : timelines) {
            num_ranks_ = std::max(num_ranks_, std::ssize(timeline.ranks));
            for (const RankTrace& trace : timeline.ranks)
                for (const plan::Lane& lane : trace.lanes)
                    if (std::ranges::find(tracks_, lane.name) == tracks_.end()) tracks_.push_back(lane.name);
        }
        text_ = "{\"displayTimeUnit\": \"ms\",\n\"traceEvents\": [";
        for (std::int64_t rank = 0; rank < num_ranks_; ++rank)
            write_names(rank, timelines.front().ranks[static_cast<std::size_t>(rank)].host);
        for (const Timeline& timeline : timelines) write_pass(timeline);
        text_ += "\n]}\n";
    }

    std::string take() { return std::move(text_); }

  private:
    std::int64_t track(std::int64_t rank, const std::string& name) const {
        return track_of(rank, std::ranges::find(tracks_, name) - tracks_.begin(), num_ranks_);
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

    void write_names(std::int64_t rank, const std::string& host) {
        const std::string name =
            host.empty() ? fmt::format("rank {}", rank) : fmt::format("rank {} ({})", rank, host);
        metadata("process_name", rank, track(rank, kCaseTrack), fmt::format("\"name\": {}", json_text(name)));
        metadata("process_sort_index", rank, track(rank, kCaseTrack),
                 fmt::format("\"sort_index\": {}", rank));
        for (std::size_t i = 0; i < tracks_.size(); ++i) {
            metadata("thread_name", rank, track(rank, tracks_[i]),
                     fmt::format("\"name\": {}", json_text(tracks_[i])));
            metadata("thread_sort_index", rank, track(rank, tracks_[i]),
                     fmt::format("\"sort_index\": {}", i));
        }
    }

    void event(std::string_view name, std::string_view category, std::int64_t rank,
               const std::string& track_name, std::int64_t begin_ns, std::int64_t duration_ns,
               const std::string& args) {
        line(fmt::format(
            "{{\"ph\": \"X\", \"name\": {}, \"cat\": \"{}\", \"pid\": {}, \"tid\": {}, \"ts\": {}, "
            "\"dur\": {}, \"args\": {{{}}}}}",
            json_text(name), category, rank, track(rank, track_name), microseconds(pass_begin_ns_ + begin_ns),
            microseconds(duration_ns), args));
    }

    void write_pass(const Timeline& timeline) {
        std::int64_t length_ns = 0;
        for (const RankTrace& trace : timeline.ranks)
            for (const Span& span : trace.spans)
                length_ns = std::max(length_ns, span.end_ns - trace.begin_ns);
        for (std::size_t rank = 0; rank < timeline.ranks.size(); ++rank) {
            event(timeline.case_name, "case", static_cast<std::int64_t>(rank), kCaseTrack, 0, length_ns,
                  timeline.notes);
            write_ops(timeline.ranks[rank], static_cast<std::int64_t>(rank));
        }
        pass_begin_ns_ += length_ns + kGapNs;
    }

    void write_ops(const RankTrace& trace, std::int64_t rank) {
        for (const Span& span : ordered(trace, rank)) {
            const plan::Lane& lane = trace.lanes[static_cast<std::size_t>(span.lane)];
            std::string args = fmt::format("\"op\": {}", span.op);
            if (span.layer >= 0) args += fmt::format(", \"layer\": {}", span.layer);
            args += fmt::format(", \"micro_batch\": {}", span.micro_batch);
            if (span.op >= 0 && static_cast<std::size_t>(span.op) < trace.op_texts.size())
                args += fmt::format(", \"text\": {}",
                                    json_text(trace.op_texts[static_cast<std::size_t>(span.op)]));
            event(plan::kOpNames[span.kind], lane.exchange ? "exchange" : "compute", rank, lane.name,
                  span.begin_ns - trace.begin_ns, span.end_ns - span.begin_ns, args);
        }
    }

    inline static const std::string kCaseTrack = "case";

    std::int64_t num_ranks_ = 0;
    std::vector<std::string> tracks_ = {kCaseTrack};
    std::int64_t pass_begin_ns_ = 0;
    std::string text_;
    bool first_ = true;
};

}  // namespace

std::string timeline_text(const std::vector<Timeline>& timelines) {
    return Writer(timelines).take();
}

void write_timeline(const std::string& path, bool overwrite, const std::vector<Timeline>& timelines) {
    write_output_file(path, "timeline", overwrite, timeline_text(timelines));
}

}  // namespace eps::trace
