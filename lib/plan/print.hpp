// A plan as text, for people and for golden files.
#pragma once

#include "plan/plan.hpp"

#include <string>

namespace eps::plan {

/// One line a segment, and under it one line a lane with its ops in order, each as
///   ID NAME WRITTEN ROWS..., DETAILS..., after EDGES...
/// where rows are BEGIN:END, an exchange gives the rows to and from each peer, and an edge is the id of an op
/// on another lane. What is read is not shown: the hash in the first line covers it. Ends with a newline.
std::string print(const RankPlan& plan);

/// "experts, layer 3, micro-batch 1"; without the layer where there is none, without micro-batch 0.
std::string to_string(const Segment& segment);

}  // namespace eps::plan
