// The plans of every rank of a case, lowered in one process from forced routing.
#pragma once

#include "app/results.hpp"
#include "backend/inputs.hpp"
#include "backend/pass_runner.hpp"
#include "plan/check.hpp"
#include "schedule/check_input.hpp"

#include <cstdint>
#include <map>
#include <memory>
#include <tuple>
#include <vector>

namespace eps {

class LoweredWorld {
  public:
    /// What `setup` and `prompts` name outlives it. Ranks of one expert block share their counts.
    LoweredWorld(const schedule::PassSetup& setup, const backend::Prompts& prompts);

    const backend::PassRunner& runner(std::int64_t rank) const {
        return *runners_[static_cast<std::size_t>(rank)];
    }
    plan::PassUnderCheck pass() const;
    /// Per rank.
    std::vector<RankFigures> figures() const;

  private:
    // First rank that has these counts, layer, micro-batch.
    using Key = std::tuple<std::int64_t, std::int64_t, std::int64_t>;
    static std::int64_t first_rank_alike(const schedule::Tables& tables);

    std::vector<std::unique_ptr<backend::PassRunner>> runners_;
    std::vector<plan::GateChoices> choices_;
    std::map<Key, std::vector<std::int32_t>> counts_;
};

}  // namespace eps
