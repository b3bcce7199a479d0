// JSON as people like to read it: indented, but lists of plain values and whatever is short stay on one line.
#pragma once

#include <string>

#include <nlohmann/json_fwd.hpp>

namespace eps::report {

/// Two spaces a level, keys in their order, no newline at the end. Non-finite numbers become null, bytes that
/// are not UTF-8 the replacement character.
std::string readable_text(const nlohmann::ordered_json& value);

}  // namespace eps::report
