// Reads one JSON object of the config: typed values, every default written out, errors that name the JSON
// pointer.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace eps::config {

using Json = nlohmann::ordered_json;

/// Throws Error(usage): "{where}: {pointer} {problem}".
[[noreturn]] void refuse_at(const std::string& where, const std::string& pointer, const std::string& problem);

/// Each reading function takes a key of `known_keys`, returns its value, or `fallback` when the object lacks
/// it, and throws Error(usage) with where, pointer, what was found and what is allowed. The value also goes
/// into `resolved`, at the same place below it. The JSON values must outlive the reader.
class ObjectReader {
  public:
    /// Reads `value`, which stands at `pointer` ("" for the whole document). Throws unless it is an object
    /// that has known keys only; a typing error is answered with the nearest key.
    ObjectReader(const Json& value, std::string where, std::string pointer,
                 std::vector<std::string> known_keys, Json& resolved);

    static constexpr std::int64_t kMostInteger = std::numeric_limits<std::int64_t>::max();
    static constexpr double kMostNumber = std::numeric_limits<double>::max();

    std::int64_t integer(const std::string& key, std::int64_t fallback, std::int64_t least,
                         std::int64_t most = kMostInteger);
    /// A list (it must be there) of integers, each in [least, most].
    std::vector<std::int64_t> integers(const std::string& key, std::int64_t least,
                                       std::int64_t most = kMostInteger);
    std::uint64_t seed(const std::string& key, std::uint64_t fallback);
    double number(const std::string& key, double fallback, double least, double most = kMostNumber);
    bool boolean(const std::string& key, bool fallback);
    /// A text that is not empty.
    std::string text(const std::string& key, const std::string& fallback);
    std::string choice(const std::string& key, const std::string& fallback,
                       const std::vector<std::string>& names);

    /// The object at `key` (an empty one when it is missing).
    ObjectReader object(const std::string& key, std::vector<std::string> known_keys);

    bool has(const std::string& key) const;
    /// There and not null.
    bool is_set(const std::string& key) const;
    const Json& at(const std::string& key) const;
    /// Writes a value that was read by other means.
    void resolve(const std::string& key, const Json& value);

    const std::string& where() const { return where_; }
    std::string pointer(const std::string& key) const;
    /// The element `element_idx` of a list stands for the key: messages about the key point there.
    void point_to_element(const std::string& key, std::int64_t element_idx);

    /// "{pointer} is {value}, expected {expected}", or "is missing, expected".
    [[noreturn]] void refuse(const std::string& key, const std::string& expected) const;
    /// For a value that only GPUs have: "{pointer} is {value}, which is for the backend "cuda"; expected
    /// {expected}".
    [[noreturn]] void refuse_on_cpu(const std::string& key, const std::string& expected) const;
    /// "{pointer} {problem}"
    [[noreturn]] void refuse_because(const std::string& key, const std::string& problem) const;

  private:
    ObjectReader(const Json& value, std::string where, std::string pointer,
                 std::vector<std::string> known_keys, Json& resolved, std::string resolved_pointer);
    void check_known(const std::string& key) const;

    const Json& value_;
    std::string where_, pointer_;
    std::vector<std::string> known_keys_;
    std::map<std::string, std::int64_t> element_of_key_;
    Json& resolved_;
    std::string resolved_pointer_;  // where this object lies in resolved_
};

}  // namespace eps::config
