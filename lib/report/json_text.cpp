#include "report/json_text.hpp"

#include <algorithm>

#include <nlohmann/json.hpp>

namespace eps::report {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kWidth = 100;

std::string scalar_text(const Json& value) {
    return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string flat_text(const Json& value) {
    if (!value.is_structured()) return scalar_text(value);
    std::string text;
    for (const auto& [key, item] : value.items()) {
        if (!text.empty()) text += ", ";
        if (value.is_object()) text += scalar_text(Json(key)) + ": ";
        text += flat_text(item);
    }
    return value.is_array() ? "[" + text + "]" : "{" + text + "}";
}

// Samples are a list of plain values and stay together however many they are.
bool is_plain_list(const Json& value) {
    return value.is_array() &&
           std::none_of(value.begin(), value.end(), [](const Json& item) { return item.is_structured(); });
}

void append(std::string& text, const Json& value, std::size_t level) {
    const std::string flat = flat_text(value);
    if (!value.is_structured() || is_plain_list(value) || flat.size() <= kWidth) {
        text += flat;
        return;
    }
    const std::string outer = "\n" + std::string(2 * level, ' ');
    const char* separator = "";
    text += value.is_array() ? "[" : "{";
    for (const auto& [key, item] : value.items()) {
        text += separator + outer + "  ";
        if (value.is_object()) text += scalar_text(Json(key)) + ": ";
        append(text, item, level + 1);
        separator = ",";
    }
    text += outer + (value.is_array() ? "]" : "}");
}

}  // namespace

std::string readable_text(const Json& value) {
    std::string text;
    append(text, value, 0);
    return text;
}

}  // namespace eps::report
