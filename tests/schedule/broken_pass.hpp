// A legal pass whose plans may be edited: each test of a rule breaks one thing.
#pragma once

#include "base/error.hpp"
#include "tests/schedule/lowered_pass.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace schedule_tests {

class BrokenPass {
  public:
    explicit BrokenPass(const TestCase& test) : lowered_(test), pass(lowered_.under_check()) {
        for (auto& rank : pass.ranks) plans_.push_back(*rank.plan);
        for (std::size_t i = 0; i < plans_.size(); ++i) pass.ranks[i].plan = &plans_[i];
    }
    BrokenPass(const BrokenPass&) = delete;
    BrokenPass& operator=(const BrokenPass&) = delete;

    eps::plan::RankPlan& plan(std::int64_t rank) { return plans_[static_cast<std::size_t>(rank)]; }
    void restore(std::int64_t rank) { plan(rank) = lowered_.plan(rank); }
    const eps::model::ModelSpec& spec() const { return lowered_.spec(); }

    /// The rank's op number `which` of this kind (on this lane, if it is named).
    eps::plan::Op& op(std::int64_t rank, std::string_view kind, std::int64_t which = 0,
                      std::string_view lane = "") {
        for (eps::plan::Op& op : plan(rank).ops)
            if (name_of(op.args) == kind &&
                (lane.empty() || plan(rank).lanes[static_cast<std::size_t>(op.lane)].name == lane) &&
                which-- == 0)
                return op;
        throw eps::Error(eps::Exit::internal, "the plan has no such op: " + std::string(kind));
    }
    template <typename Args>
    Args& args(std::int64_t rank, std::string_view kind, std::int64_t which = 0, std::string_view lane = "") {
        return std::get<Args>(op(rank, kind, which, lane).args);
    }

    /// "rank 1, lane combine, op 57 (all_to_all;"
    std::string name(std::int64_t rank, const eps::plan::Op& op) {
        return "rank " + std::to_string(rank) + ", lane " +
               plan(rank).lanes[static_cast<std::size_t>(op.lane)].name + ", op " + std::to_string(op.id) +
               " (" + std::string(name_of(op.args)) + ";";
    }

  private:
    LoweredPass lowered_;
    std::vector<eps::plan::RankPlan> plans_;

  public:
    eps::plan::PassUnderCheck pass;
};

}  // namespace schedule_tests
