// Keys that both the run and a case may set.
#pragma once

#include "base/dtype.hpp"
#include "base/link.hpp"
#include "config/object_reader.hpp"

#include <optional>

namespace eps::config {

/// `dtype`: f32 or bf16.
DType read_dtype(ObjectReader& reader, DType fallback);

/// `link`: null, or the numbers of an emulated wire.
std::optional<Link> read_link(ObjectReader& reader, const std::optional<Link>& fallback);

}  // namespace eps::config
