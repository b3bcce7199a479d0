// Shape checks at the door of every kernel: a wrong shape is a mistake of the program, never of its user.
#pragma once

#include "base/error.hpp"
#include "base/rows.hpp"

#include <string>
#include <string_view>

#include <fmt/format.h>

namespace eps::kernels {

inline std::string shape_of(const Rows& x) {
    return fmt::format("{} [{}, {}] stride {}", name_of(x.dtype), x.num_rows, x.num_cols, x.stride);
}

/// Throws unless `holds`; the message carries the op and the shapes of its main operands.
inline void require(bool holds, std::string_view op, std::string_view rule, const Rows& a, const Rows& b) {
    if (holds) return;
    throw Error(Exit::internal,
                fmt::format("{}: {} does not hold for {} and {}", op, rule, shape_of(a), shape_of(b)));
}

inline bool same_dtype(const Rows& a, const Rows& b) {
    return a.dtype == b.dtype;
}

inline bool same_shape(const Rows& a, const Rows& b) {
    return a.dtype == b.dtype && a.num_rows == b.num_rows && a.num_cols == b.num_cols;
}

/// Starts of `num_rows` lists inside an index of `num_entries`.
template <typename Starts>
bool are_starts(const Starts& starts, std::int64_t num_rows, std::size_t num_entries) {
    return starts.size() == static_cast<std::size_t>(num_rows) + 1 && starts.front() >= 0 &&
           static_cast<std::size_t>(starts.back()) <= num_entries;
}

}  // namespace eps::kernels
