// JSON as a person writes it, read strictly: what nlohmann/json lets pass in silence is an error here.
#pragma once

#include "base/error.hpp"

#include <string>

#include <nlohmann/json_fwd.hpp>

namespace eps {

/// The whole file. Throws Error(status) naming the path when it is missing, a folder or not readable.
std::string read_text_file(const std::string& path, Exit status);

/// Parses one JSON document. Throws Error(status) with `where`, line and column for an empty text, anything
/// that is not JSON (NaN, comments, trailing text or commas, numbers beyond a double, broken UTF-8), and for
/// a duplicate key, whose JSON pointer is named.
nlohmann::json parse_json_strict(const std::string& text, const std::string& where, Exit status);

/// The value as one short line of JSON, for messages; long ones end in "...".
std::string shown(const nlohmann::json& value);

/// `key` as a part of a JSON pointer: ~ becomes ~0, / becomes ~1.
std::string pointer_part(const std::string& key);

}  // namespace eps
