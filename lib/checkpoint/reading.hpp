// What every WeightSource checks before it copies anything.
#pragma once

#include "base/range.hpp"
#include "base/rows.hpp"
#include "model/catalog.hpp"

namespace eps::checkpoint {

/// Throws Error(data) when the catalogue has no tensor `name`.
const model::Tensor& require_tensor(const model::Catalog& catalog, const std::string& name);

/// Throws Error(internal) unless rows x columns lie inside the tensor and `out` has that shape and is f32 or
/// bf16.
void check_reading(const model::Tensor& tensor, Range rows, Range columns, const Rows& out);

}  // namespace eps::checkpoint
