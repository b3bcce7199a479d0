#include "config/object_reader.hpp"

#include "base/error.hpp"
#include "base/json.hpp"
#include "base/nearest.hpp"

#include <algorithm>
#include <cmath>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

namespace eps::config {
namespace {

bool is_one_of(const std::string& word, const std::vector<std::string>& words) {
    return std::find(words.begin(), words.end(), word) != words.end();
}

bool is_integer_within(const Json& value, std::int64_t least, std::int64_t most) {
    if (!value.is_number_integer()) return false;
    // What is above the largest signed number is unsigned here.
    constexpr auto kMost = static_cast<std::uint64_t>(ObjectReader::kMostInteger);
    if (value.is_number_unsigned() && value.get<std::uint64_t>() > kMost) return false;
    return least <= value.get<std::int64_t>() && value.get<std::int64_t>() <= most;
}

std::string integers_from(std::int64_t least, std::int64_t most) {
    return most == ObjectReader::kMostInteger ? fmt::format("an integer from {} up", least)
                                              : fmt::format("an integer from {} to {}", least, most);
}

const Json& empty_object() {
    static const Json object = Json::object();
    return object;
}

}  // namespace

void refuse_at(const std::string& where, const std::string& pointer, const std::string& problem) {
    throw Error(Exit::usage, fmt::format("{}: {} {}", where, pointer, problem));
}

ObjectReader::ObjectReader(const Json& value, std::string where, std::string pointer,
                           std::vector<std::string> known_keys, Json& resolved)
    : ObjectReader(value, std::move(where), std::move(pointer), std::move(known_keys), resolved, "") {}

ObjectReader::ObjectReader(const Json& value, std::string where, std::string pointer,
                           std::vector<std::string> known_keys, Json& resolved, std::string resolved_pointer)
    : value_(value),
      where_(std::move(where)),
      pointer_(std::move(pointer)),
      known_keys_(std::move(known_keys)),
      resolved_(resolved),
      resolved_pointer_(std::move(resolved_pointer)) {
    if (!value.is_object())
        refuse_at(where_, pointer_.empty() ? "the document" : pointer_,
                  fmt::format("is {}, expected an object with the keys {}", shown(value),
                              any_of_names(known_keys_)));
    for (const auto& [key, member] : value.items())
        if (!is_one_of(key, known_keys_))
            refuse_because(key, fmt::format("is no known key, nearest: \"{}\"; expected {}",
                                            nearest(key, known_keys_), any_of_names(known_keys_)));
}

void ObjectReader::check_known(const std::string& key) const {
    if (!is_one_of(key, known_keys_))
        throw Error(Exit::internal, fmt::format("config key {} is read but not known", pointer(key)));
}

bool ObjectReader::has(const std::string& key) const {
    check_known(key);
    return value_.contains(key);
}

bool ObjectReader::is_set(const std::string& key) const {
    return has(key) && !at(key).is_null();
}

const Json& ObjectReader::at(const std::string& key) const {
    return value_.at(key);
}

void ObjectReader::resolve(const std::string& key, const Json& value) {
    // By the path from the root: an ordered object moves its members when it grows.
    resolved_[Json::json_pointer(resolved_pointer_ + '/' + pointer_part(key))] = value;
}

std::int64_t ObjectReader::integer(const std::string& key, std::int64_t fallback, std::int64_t least,
                                   std::int64_t most) {
    if (has(key) && !is_integer_within(at(key), least, most)) refuse(key, integers_from(least, most));
    const std::int64_t value = has(key) ? at(key).get<std::int64_t>() : fallback;
    resolve(key, value);
    return value;
}

std::vector<std::int64_t> ObjectReader::integers(const std::string& key, std::int64_t least,
                                                 std::int64_t most) {
    if (!has(key) || !at(key).is_array()) refuse(key, "a list");
    const Json& list = at(key);
    for (std::size_t i = 0; i < list.size(); ++i)
        if (!is_integer_within(list[i], least, most))
            refuse_at(where_, fmt::format("{}/{}", pointer(key), i),
                      fmt::format("is {}, expected {}", shown(list[i]), integers_from(least, most)));
    resolve(key, list);
    return list.get<std::vector<std::int64_t>>();
}

std::uint64_t ObjectReader::seed(const std::string& key, std::uint64_t fallback) {
    if (has(key) && !at(key).is_number_unsigned()) refuse(key, "an integer from 0 to 2^64 - 1");
    const std::uint64_t value = has(key) ? at(key).get<std::uint64_t>() : fallback;
    resolve(key, value);
    return value;
}

double ObjectReader::number(const std::string& key, double fallback, double least, double most) {
    if (has(key)) {
        const double found = at(key).is_number() ? at(key).get<double>() : std::nan("");
        if (!(found >= least && found <= most))
            refuse(key, most == kMostNumber ? fmt::format("a number from {} up", least)
                                            : fmt::format("a number from {} to {:.6g}", least, most));
    }
    const double value = has(key) ? at(key).get<double>() : fallback;
    resolve(key, value);
    return value;
}

bool ObjectReader::boolean(const std::string& key, bool fallback) {
    if (has(key) && !at(key).is_boolean()) refuse(key, "true or false");
    const bool value = has(key) ? at(key).get<bool>() : fallback;
    resolve(key, value);
    return value;
}

std::string ObjectReader::text(const std::string& key, const std::string& fallback) {
    if (has(key) && (!at(key).is_string() || at(key).get<std::string>().empty()))
        refuse(key, "a text that is not empty");
    const std::string value = has(key) ? at(key).get<std::string>() : fallback;
    resolve(key, value);
    return value;
}

std::string ObjectReader::choice(const std::string& key, const std::string& fallback,
                                 const std::vector<std::string>& names) {
    if (has(key)) {
        if (!at(key).is_string()) refuse(key, any_of_names(names));
        const std::string found = at(key).get<std::string>();
        if (!is_one_of(found, names))
            refuse(key, fmt::format("{}; nearest: \"{}\"", any_of_names(names), nearest(found, names)));
    }
    const std::string value = has(key) ? at(key).get<std::string>() : fallback;
    resolve(key, value);
    return value;
}

ObjectReader ObjectReader::object(const std::string& key, std::vector<std::string> known_keys) {
    return ObjectReader(has(key) ? at(key) : empty_object(), where_, pointer(key), std::move(known_keys),
                        resolved_, resolved_pointer_ + '/' + pointer_part(key));
}

std::string ObjectReader::pointer(const std::string& key) const {
    const auto element = element_of_key_.find(key);
    return pointer_ + '/' + pointer_part(key) +
           (element == element_of_key_.end() ? "" : fmt::format("/{}", element->second));
}

void ObjectReader::point_to_element(const std::string& key, std::int64_t element_idx) {
    element_of_key_[key] = element_idx;
}

void ObjectReader::refuse(const std::string& key, const std::string& expected) const {
    refuse_because(key, value_.contains(key) ? fmt::format("is {}, expected {}", shown(at(key)), expected)
                                             : fmt::format("is missing, expected {}", expected));
}

void ObjectReader::refuse_on_cpu(const std::string& key, const std::string& expected) const {
    refuse_because(
        key, fmt::format("is {}, which is for the backend \"cuda\"; expected {}", shown(at(key)), expected));
}

void ObjectReader::refuse_because(const std::string& key, const std::string& problem) const {
    refuse_at(where_, pointer(key), problem);
}

}  // namespace eps::config
