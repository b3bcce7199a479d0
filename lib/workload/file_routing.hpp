// Forced routing from a safetensors file, for example one written by an earlier run's dump.
#pragma once

#include "checkpoint/safetensors.hpp"
#include "workload/expert_draw.hpp"
#include "workload/integer_matrix.hpp"
#include "workload/routing.hpp"

#include <map>

namespace eps::workload {

class RecordedRouting : public ForcedRouting {
  public:
    RecordedRouting(const model::ModelSpec& spec, const std::string& path,
                    const std::vector<std::int64_t>& layers, std::int64_t num_tokens);
    void write_ids(std::int64_t layer, Range tokens, std::span<std::int32_t> out) const override;

  private:
    /// Writes a token's ids, ascending. Throws Error(data) unless the gate may choose them.
    void read_token(std::int64_t layer, std::int64_t token, std::span<std::int32_t> ids) const;
    [[noreturn]] void refuse(std::int64_t layer, std::int64_t token, const std::string& problem) const;

    GateLimits limits_;
    checkpoint::Safetensors file_;
    std::map<std::int64_t, IntegerMatrix> ids_of_layer_;
};

}  // namespace eps::workload
