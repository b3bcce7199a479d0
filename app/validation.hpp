// Phase "validation": each case runs one untimed pass whose outputs are proven before any of its figures
// exists.
#pragma once

#include "app/launch.hpp"
#include "app/live_case.hpp"
#include "backend/capture.hpp"
#include "checkpoint/weight_source.hpp"
#include "validate/check.hpp"
#include "validate/pass_check.hpp"
#include "validate/spot.hpp"

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace eps {

class Validation {
  public:
    /// All outlive it. `threads`: that rank 0 may compute with while the others wait; the same number on all
    /// ranks.
    Validation(const config::RunConfig& config, const backend::Prompts& prompts,
               const checkpoint::WeightSource& source, const Launch& launch, int threads);

    /// Runs the case's pass on every rank (the executor is bound to it), fills checks and reasons of its
    /// result, and its output hash. With a dump path in the config the first case writes the dump.
    /// Collective.
    void prove(LiveCase& live, backend::Executor& executor);

  private:
    // The reference for one dtype; rank 0 only.
    struct Proof {
        Proof(const config::RunConfig& config, const checkpoint::WeightSource& source, DType dtype,
              int threads, const validate::PassWork& work);
        validate::Weights weights;
        validate::Reference reference;
        validate::PassCheck pass_check;
        validate::SpotResults spots;
    };
    // What later cases are compared with; rank 0 only.
    struct Outputs {
        std::string name;
        std::string order;  // cases with the same text sum in the same order: equal bits are promised
        DType dtype = DType::f32;
        std::int64_t num_cols = 0;
        std::vector<float> values;
        std::vector<std::vector<std::int32_t>> ids;  // per MoE layer, when all of them were captured
        std::vector<std::uint64_t> hashes;           // per rank
    };

    std::vector<Range> wanted(backend::Tensor tensor, std::int64_t layer, bool everything) const;
    Proof& proof_of(DType dtype);
    validate::CheckResult check_all(const backend::Gathered& gathered, const config::Case& asked);
    validate::CheckResult check_samples(const backend::Gathered& gathered, const config::Case& asked);
    Outputs outputs_of(const LiveCase& live, const backend::Gathered& gathered, const std::string& order);
    std::vector<validate::CheckResult> check_agreement(const Outputs& outputs) const;
    report::Check check_plans(const LiveCase& live, const backend::Gathered& gathered,
                              const std::vector<std::uint64_t>& ran) const;
    void write_dump(const backend::Gathered& gathered, const LiveCase& live);

    std::vector<float> layer_input(const backend::Gathered& gathered, std::size_t layer_place, Range tokens,
                                   DType dtype) const;
    Range all_tokens() const { return {0, prompts_.batch.num_tokens()}; }

    const config::RunConfig& config_;
    const backend::Prompts& prompts_;
    const checkpoint::WeightSource& source_;
    const Launch& launch_;
    int threads_;
    validate::Scope scope_;
    validate::Kind kind_;
    std::vector<std::int64_t> layers_;           // of the scope
    std::vector<validate::SpotSample> samples_;  // kind spot
    validate::PassWork work_;
    std::map<DType, std::unique_ptr<Proof>> proofs_;
    std::vector<Outputs> proven_;
    bool dump_pending_ = false;
};

}  // namespace eps
