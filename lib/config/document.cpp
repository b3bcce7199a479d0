#include "config/document.hpp"

#include "base/error.hpp"
#include "base/json.hpp"

#include <algorithm>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

namespace eps::config {
namespace {

using Json = nlohmann::ordered_json;

/// nlohmann's strict parse in base/ sorts keys; parsed a second time, the text is known to be good.
Json parse_ordered(const std::string& text, const std::string& where) {
    parse_json_strict(text, where, Exit::usage);
    return Json::parse(text);
}

[[noreturn]] void refuse_set(const std::string& set, const std::string& problem) {
    throw Error(Exit::usage, fmt::format("--set {}: {}", set, problem));
}

std::vector<std::string> parts_of(const std::string& pointer, const std::string& set) {
    std::vector<std::string> parts;
    std::string part;
    for (std::size_t i = 1; i <= pointer.size(); ++i) {
        if (i == pointer.size() || pointer[i] == '/') {
            parts.push_back(part);
            part.clear();
        } else if (pointer[i] == '~') {
            const char code = i + 1 < pointer.size() ? pointer[i + 1] : '\0';
            if (code != '0' && code != '1')
                refuse_set(set, "~ in a JSON pointer is written ~0, / in a key ~1");
            part += code == '0' ? '~' : '/';
            ++i;
        } else {
            part += pointer[i];
        }
    }
    return parts;
}

/// The element of a list that `part` names; one past the end appends.
Json& element_of(Json& list, const std::string& part, const std::string& set) {
    const bool is_index = !part.empty() && part.size() <= 9 &&
                          std::all_of(part.begin(), part.end(), [](char c) { return c >= '0' && c <= '9'; });
    const std::size_t element_idx = part == "-" ? list.size() : is_index ? std::stoul(part) : list.size() + 1;
    if (element_idx > list.size())
        refuse_set(set, fmt::format("\"{}\" is no element of the list there, expected 0 to {} or - to append",
                                    part, list.size()));
    if (element_idx == list.size()) list.push_back(nullptr);
    return list[element_idx];
}

/// JSON where it looks like JSON, a plain text otherwise.
Json value_of(const std::string& text, const std::string& set) {
    const bool is_json_or_error = !text.empty() && (text[0] == '{' || text[0] == '[' || text[0] == '"');
    if (is_json_or_error || Json::accept(text)) return parse_ordered(text, "--set " + set);
    return text;
}

void apply(Json& document, const std::string& set) {
    const std::size_t equals = set.find('=');
    if (set.empty() || set[0] != '/' || equals == std::string::npos)
        refuse_set(set, "expected /POINTER=VALUE, for example --set /workload/batch=16");
    Json* at = &document;
    for (const std::string& part : parts_of(set.substr(0, equals), set)) {
        if (at->is_null()) *at = Json::object();
        if (!at->is_object() && !at->is_array())
            refuse_set(set, fmt::format("there is no \"{}\" in {}", part, shown(*at)));
        at = at->is_array() ? &element_of(*at, part, set) : &(*at)[part];
    }
    *at = value_of(set.substr(equals + 1), set);
}

}  // namespace

Json read_document(const std::string& text, const std::string& where, const std::vector<std::string>& sets) {
    Json document = parse_ordered(text, where);
    for (const std::string& set : sets) apply(document, set);
    return document;
}

}  // namespace eps::config
