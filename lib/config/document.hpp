// The config as one JSON document: the file's text overlaid by what the command line sets.
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace eps::config {

/// `sets` are "/json/pointer=value" in order: the value is JSON, or else a text. Missing objects on the way
/// are made, "-" or the length of a list appends. Keys keep their order of appearance. Throws Error(usage)
/// for text that is not strict JSON and for pointers that lead nowhere.
nlohmann::ordered_json read_document(const std::string& text, const std::string& where,
                                     const std::vector<std::string>& sets);

}  // namespace eps::config
