// The keys of a Hugging Face config in one spelling, patched by overrides, each knowing where it was written.
#pragma once

#include "base/error.hpp"

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace eps::model {

/// Keys of rope settings are "rope_theta" and "rope_scaling/MEMBER" (with "rope_scaling/type"), that of the
/// dtype is "torch_dtype". A key that is null counts as absent. Readers throw, with the key's place, when a
/// value is not what they want.
class ConfigFields {
  public:
    static constexpr std::int64_t kLargest = std::int64_t{1} << 24;  // of any size in a config

    /// `text` is a JSON object at `where`; errors in it have `status`.
    ConfigFields(const std::string& text, const std::string& where, Exit status);

    /// Lays a JSON object over the config: a key replaces, rope members replace one by one, null for the
    /// scaling removes it. Throws Error(usage) with the pointer /model/overrides/KEY for a key that is none
    /// of `known`.
    void patch(const std::string& overrides_text, const std::vector<std::string>& known);

    bool has(const std::string& key) const;
    bool is_written(const std::string& key) const { return fields_.count(key) > 0; }  // be it null
    /// The keys that are there, null or not, in alphabetical order.
    std::vector<std::string> keys() const;

    /// An integer in [least, kLargest]; `fallback` when absent, an error when there is no fallback.
    std::int64_t integer(const std::string& key, std::int64_t least,
                         std::optional<std::int64_t> fallback = std::nullopt) const;
    /// A finite number that `is_allowed`, which `expected` describes.
    double number(const std::string& key, double fallback, const std::string& expected,
                  const std::function<bool(double)>& is_allowed) const;
    bool boolean(const std::string& key, bool fallback) const;
    /// One of `names`; an error when absent and `fallback` is none of them.
    std::string choice(const std::string& key, const std::string& fallback,
                       const std::vector<std::string>& names) const;

    /// Throws "PLACE is VALUE, expected EXPECTED".
    [[noreturn]] void refuse(const std::string& key, const std::string& expected) const;
    /// Throws for keys that do not go together; the place is that of an overridden one if there is any.
    [[noreturn]] void refuse_together(const std::vector<std::string>& keys, const std::string& message) const;

  private:
    struct Field {
        std::shared_ptr<const nlohmann::json> value;
        std::string place;
        Exit status;
    };
    using Fields = std::map<std::string, Field>;

    static Fields canonical(const std::string& text, const std::string& where, const std::string& root,
                            Exit status);

    std::string where_;
    Exit status_;
    Fields fields_;
};

}  // namespace eps::model
