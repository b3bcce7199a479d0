// Forced routing with a contiguous range of hot experts that get an exact share.
#pragma once

#include "workload/expert_draw.hpp"
#include "workload/routing.hpp"

namespace eps::workload {

/// The hot range cuts groups into classes: groups of one class have the same number of hot experts (at most
/// four classes: all hot, none, and the two that the ends of the range cut). A mix says how many groups of
/// each class a token keeps.
struct GroupMix {
    std::vector<std::int64_t> num_kept;  // per class
    std::int64_t num_hot = 0;            // hot experts in the kept groups
    double log_ways = 0;                 // log of the number of sets of groups that are this mix
};

class GroupMixes {
  public:
    GroupMixes(const GateLimits& limits, Range hot_experts);

    const std::vector<std::vector<std::int64_t>>& classes() const { return classes_; }
    /// Mixes among whose experts `num_hot` hot and top_k - num_hot others can be chosen.
    std::vector<GroupMix> allowing(std::int64_t num_hot) const;
    /// Numbers of hot experts that a token can have, ascending.
    std::vector<std::int64_t> possible_num_hot() const;

  private:
    void extend(GroupMix mix, std::int64_t num_left);

    GateLimits limits_;
    std::vector<std::vector<std::int64_t>> classes_;  // the groups of each class
    std::vector<std::int64_t> hot_per_group_;         // of each class
    std::vector<GroupMix> mixes_;
};

class HotExpertsRouting : public ForcedRouting {
  public:
    /// Throws Error(usage) for a share outside of hot_share_limits().
    HotExpertsRouting(const model::ModelSpec& spec, std::uint64_t seed, const HotRouting& routing);
    void write_ids(std::int64_t layer, Range tokens, std::span<std::int32_t> out) const override;

  private:
    /// One of the two numbers of hot experts, with the mixes that allow it and their running probabilities.
    struct Outcome {
        std::int64_t num_hot = 0;
        std::vector<GroupMix> mixes;
        std::vector<double> cumulative;
    };
    Outcome outcome_of(std::int64_t num_hot) const;
    /// The experts of one token's groups, drawn by the stream `key`.
    void draw_candidates(const GroupMix& mix, std::uint64_t key, std::vector<Candidate>& hot,
                         std::vector<Candidate>& others) const;

    GateLimits limits_;
    std::uint64_t seed_;
    Range hot_;
    GroupMixes group_mixes_;
    Outcome fewer_, more_;
    double more_probability_ = 0;
};

}  // namespace eps::workload
