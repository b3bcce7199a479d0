// Traced passes of all ranks as a Chrome trace, which Perfetto (ui.perfetto.dev) opens: a process is a rank,
// a track is a lane, an event is an op. The passes of several cases follow one another, each under an event
// of its own on the track "case". Files end in .trace.json.
#pragma once

#include "plan/plan.hpp"
#include "trace/span.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace eps::trace {

struct RankTrace {
    std::string host;
    std::int64_t begin_ns =
        0;  // when this rank left the barrier before the pass: time 0, since clocks of hosts differ
    std::vector<plan::Lane> lanes;
    std::vector<Span> spans;
    std::vector<std::string> op_texts;  // by op id, shown as details of its event; may be shorter, or empty
};

/// One pass; element i of `ranks` is rank i.
struct Timeline {
    std::string case_name;
    std::string notes = {};  // members of a JSON object, shown as details of the case's event; may be empty
    std::vector<RankTrace> ranks = {};
};

/// The document: of each process the tracks "case" and the lanes of all passes, in the order in which they
/// first appear; process and track names with their order, then one complete event ("X") per span, by begin;
/// pid = rank, ts and dur in microseconds with three decimals, `args` {op, layer, micro_batch, text}, where
/// they apply. Error internal: ops of a lane overlap, or a lane or kind that does not exist.
std::string timeline_text(const std::vector<Timeline>& timelines);

/// Writes it to `path`, whole or not at all. Throws as OutputFile (Error usage when the path exists and not
/// `overwrite`).
void write_timeline(const std::string& path, bool overwrite, const std::vector<Timeline>& timelines);

}  // namespace eps::trace
