// The workload of a config: sequences, tokens, routing.
#pragma once

#include "config/object_reader.hpp"
#include "config/run_config.hpp"

namespace eps::config {

/// Reads /workload. Throws Error(usage) for sizes that no run can have and for routing that the model's gate
/// cannot follow.
Workload read_workload(ObjectReader& config, Scope scope, const model::ModelSpec& spec);

}  // namespace eps::config
