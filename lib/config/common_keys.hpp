// Keys that both the run and a case may set.
#pragma once

#include "base/dtype.hpp"
#include "config/object_reader.hpp"

namespace eps::config {

/// `dtype`: f32 or bf16.
DType read_dtype(ObjectReader& reader, DType fallback);

/// `link`: null, or the numbers of an emulated wire, which no backend of this build has.
void read_link(ObjectReader& reader);

}  // namespace eps::config
