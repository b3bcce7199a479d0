#include "model/config_fields.hpp"

#include "base/json.hpp"
#include "base/nearest.hpp"

#include <algorithm>
#include <cmath>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

namespace eps::model {

using nlohmann::json;

namespace {

const std::string kRope = "rope_scaling/";
const std::string kRopeType = "rope_scaling/type";

bool is_rope_object(const std::string& key) {
    return key == "rope_scaling" || key == "rope_parameters";
}

/// The one spelling of a top-level key, or of a member of a rope object.
std::string one_spelling(const std::string& key) {
    return key == "dtype" ? "torch_dtype" : key;
}
std::string one_rope_spelling(const std::string& member) {
    if (member == "rope_theta") return member;
    return kRope + (member == "rope_type" ? "type" : member);
}

}  // namespace

ConfigFields::Fields ConfigFields::canonical(const std::string& text, const std::string& where,
                                             const std::string& root, Exit status) {
    const json object = parse_json_strict(text, where, status);
    if (!object.is_object())
        throw Error(status, fmt::format("{}: is {}, expected an object", where, shown(object)));
    Fields fields;
    const auto add = [&](const std::string& key, const json& value, const std::string& pointer) {
        const auto [found, is_new] =
            fields.insert({key, {std::make_shared<json>(value), root + pointer, status}});
        if (is_new) return;
        // Both spellings are there: fine when they agree or one of them is null.
        Field& other = found->second;
        if (other.value->is_null()) other = {std::make_shared<json>(value), root + pointer, status};
        if (!value.is_null() && *other.value != value)
            throw Error(status,
                        fmt::format("{} is {} but {} is {}: two spellings of one setting, give one of them",
                                    other.place, shown(*other.value), root + pointer, shown(value)));
    };
    for (const auto& [key, value] : object.items()) {
        const std::string pointer = '/' + pointer_part(key);
        if (!is_rope_object(key)) {
            add(one_spelling(key), value, pointer);
        } else if (value.is_null()) {
            add(kRopeType, value, pointer);
        } else if (value.is_object()) {
            for (const auto& [member, member_value] : value.items())
                add(one_rope_spelling(member), member_value, pointer + '/' + pointer_part(member));
        } else {
            throw Error(status,
                        fmt::format("{}{} is {}, expected an object or null", root, pointer, shown(value)));
        }
    }
    return fields;
}

ConfigFields::ConfigFields(const std::string& text, const std::string& where, Exit status)
    : where_(where), status_(status), fields_(canonical(text, where, where + ": ", status)) {}

void ConfigFields::patch(const std::string& overrides_text, const std::vector<std::string>& known) {
    const std::string pointer = "/model/overrides";
    const Fields overrides = canonical(overrides_text, pointer, pointer, Exit::usage);
    for (const auto& [key, field] : overrides) {
        if (std::find(known.begin(), known.end(), key) == known.end())
            throw Error(
                Exit::usage,
                fmt::format("{}: {} is no key that changes the computation, nearest known key: \"{}\"",
                            field.place, key, nearest(key, known)));
    }
    const auto scaling = overrides.find(kRopeType);
    const bool removes_scaling = scaling != overrides.end() &&
                                 (scaling->second.value->is_null() || *scaling->second.value == "default");
    if (removes_scaling)
        std::erase_if(fields_, [](const auto& field) { return field.first.starts_with(kRope); });
    for (const auto& [key, field] : overrides) fields_.insert_or_assign(key, field);
}

bool ConfigFields::has(const std::string& key) const {
    const auto found = fields_.find(key);
    return found != fields_.end() && !found->second.value->is_null();
}

std::vector<std::string> ConfigFields::keys() const {
    std::vector<std::string> keys;
    for (const auto& [key, field] : fields_) keys.push_back(key);
    return keys;
}

std::int64_t ConfigFields::integer(const std::string& key, std::int64_t least,
                                   std::optional<std::int64_t> fallback) const {
    const std::string expected = fmt::format("an integer from {} to {}", least, kLargest);
    if (!has(key) && fallback) return *fallback;
    if (!has(key)) refuse(key, expected);
    const json& value = *fields_.at(key).value;
    // Numbers above the largest int64 are unsigned here.
    if (!value.is_number_integer() ||
        (value.is_number_unsigned() && value.get<std::uint64_t>() > std::uint64_t{kLargest}) ||
        value.get<std::int64_t>() < least || value.get<std::int64_t>() > kLargest)
        refuse(key, expected);
    return value.get<std::int64_t>();
}

double ConfigFields::number(const std::string& key, double fallback, const std::string& expected,
                            const std::function<bool(double)>& is_allowed) const {
    if (!has(key)) return fallback;
    const json& value = *fields_.at(key).value;
    if (!value.is_number() || !std::isfinite(value.get<double>()) || !is_allowed(value.get<double>()))
        refuse(key, expected);
    return value.get<double>();
}

bool ConfigFields::boolean(const std::string& key, bool fallback) const {
    if (!has(key)) return fallback;
    const json& value = *fields_.at(key).value;
    if (!value.is_boolean()) refuse(key, "true or false");
    return value.get<bool>();
}

std::string ConfigFields::choice(const std::string& key, const std::string& fallback,
                                 const std::vector<std::string>& names) const {
    const json value = has(key) ? *fields_.at(key).value : json(fallback);
    const bool is_known =
        value.is_string() && std::find(names.begin(), names.end(), value.get<std::string>()) != names.end();
    if (!is_known) refuse(key, any_of_names(names));
    return value.get<std::string>();
}

void ConfigFields::refuse(const std::string& key, const std::string& expected) const {
    const auto found = fields_.find(key);
    if (found == fields_.end())
        throw Error(status_, fmt::format("{}: /{} is missing, expected {}", where_, key, expected));
    const Field& field = found->second;
    throw Error(field.status,
                fmt::format("{} is {}, expected {}", field.place, shown(*field.value), expected));
}

void ConfigFields::refuse_together(const std::vector<std::string>& keys, const std::string& message) const {
    const Field* blamed = nullptr;
    for (const std::string& key : keys) {
        const auto found = fields_.find(key);
        if (found == fields_.end()) continue;
        if (blamed == nullptr || found->second.place.starts_with("/model/overrides")) blamed = &found->second;
    }
    if (blamed == nullptr) throw Error(status_, fmt::format("{}: {}", where_, message));
    throw Error(blamed->status, fmt::format("{}: {}", blamed->place, message));
}

}  // namespace eps::model
