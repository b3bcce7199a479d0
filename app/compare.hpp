// `eps-bench compare`: two reports side by side, without MPI.
#pragma once

#include "app/compare_options.hpp"
#include "base/error.hpp"

namespace eps {

/// Prints the comparison, or writes it and prints the table. Returns Exit::regression if that was asked for
/// and there is one, else Exit::ok. Throws Error(usage) for whatever cannot be compared.
Exit run_compare(const CompareOptions& options);

}  // namespace eps
