// A pass of all ranks on virtual clocks: the same plans as in a real run, with modelled times.
//
// What holds as in a real run: the ops of a lane run in order, each after its edges; the ops behind a wait
// for counts start after it; the ops of an exchange meet, and none ends before its peers are there. What
// takes time:
// - an op takes what the calibration says, plus its overhead from op to op, and more where it waited for
//   another lane;
// - an exchange takes what the calibration measured for its bytes and messages, and over a wire (emulated
// link,
//   or network between hosts) as long as the wire needs, by the rules of comm/wire.hpp;
// - an exchange lane at work beside the compute lane is slower by the calibration's factor and slows the
//   compute lane by its loss; several exchange lanes share what one would have. Who waits slows nobody.
#pragma once

#include "base/link.hpp"
#include "cost/op_times.hpp"
#include "plan/check.hpp"
#include "trace/span.hpp"

#include <cstdint>
#include <optional>
#include <vector>

namespace eps::backend::sim {

struct Cluster {
    const cost::OpTimes* times = nullptr;  // and the network between hosts, if there is one
    std::optional<Link> link;              // emulated: under every message that does not leave its host
};

/// Spans of all ranks, in the order in which ops end; nanoseconds from the start of the pass. `counts_known`:
/// no wait for counts (schedule.oracle). Error(internal) when nothing can go on.
std::vector<trace::Span> simulate(const plan::PassUnderCheck& pass, bool counts_known,
                                  const Cluster& cluster);

/// When the last op ends.
double seconds_of(const std::vector<trace::Span>& spans);

}  // namespace eps::backend::sim
