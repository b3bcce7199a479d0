// What a case's ops find before a pass: token ids, positions, forced ids, and the input rows of the scopes
// layer and moe.
#pragma once

#include "backend/executor.hpp"
#include "backend/pass_runner.hpp"
#include "workload/batch.hpp"
#include "workload/routing.hpp"

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace eps::backend {

/// The run's prompts, the same for all cases. Stays where it is: token ids refer to the batch.
struct Prompts {
    Prompts(std::vector<std::int64_t> lengths, std::uint64_t run_seed)
        : batch(std::move(lengths)), seed(run_seed) {}
    Prompts(const Prompts&) = delete;
    Prompts& operator=(const Prompts&) = delete;

    workload::Batch batch;
    std::unique_ptr<workload::TokenIds> token_ids;    // null outside scope model
    std::unique_ptr<workload::ForcedRouting> forced;  // null: the gate decides
    std::uint64_t seed = 1;
};

class Inputs {
  public:
    /// Both outlive it. Rows that `other` begins with too are shared, not drawn again.
    Inputs(const Prompts& prompts, const PassRunner& runner, const Inputs* other = nullptr);

    /// Writes what stays: once, after the executor was bound to the case.
    void write(Executor& executor) const;

    /// Writes what a pass overwrites, the input rows: before every pass.
    void write_rows(Executor& executor);

  private:
    struct InputRows {
        plan::Slice slice;
        Range tokens;
        std::shared_ptr<std::vector<std::byte>> bytes;
        Rows rows;
    };

    const Prompts& prompts_;
    const PassRunner& runner_;
    std::vector<InputRows> rows_;  // per micro-batch
};

}  // namespace eps::backend
