// The word somebody probably meant: for messages about unknown keys and names.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace eps {

/// Insertions, deletions, substitutions and swaps of neighbours that turn `a` into `b` (letter case counts
/// half).
double edit_distance(std::string_view a, std::string_view b);

/// The entry of `known` nearest to `word`, the first of equals; "" when `known` is empty.
std::string nearest(std::string_view word, const std::vector<std::string>& known);

/// `"a", "b" or "c"`: what is allowed, for a message.
std::string any_of_names(const std::vector<std::string>& names);

}  // namespace eps
