// ModelSpec from a Hugging Face config.json: a preset, or a checkpoint's own.
#pragma once

#include "base/error.hpp"
#include "model/spec.hpp"

#include <optional>
#include <string>
#include <vector>

namespace eps::model {

/// A config in Hugging Face keys, and who is to blame for it.
struct ConfigText {
    std::string name;           // becomes ModelSpec::name
    std::string text;           // JSON
    std::string where;          // its path, for messages
    Exit status = Exit::usage;  // of errors in it: data for a checkpoint's config.json
};

/// Reads both spellings of rope settings (rope_theta + rope_scaling, or rope_parameters) and of the dtype
/// (torch_dtype, dtype). `overrides_text`, a JSON object, patches keys; rope members are patched one by one,
/// null removes the scaling. `layers` builds the first n layers. Throws one line naming the key, what was
/// found and what is allowed: Error(config.status) for the text, Error(usage) with the pointer
/// /model/overrides/KEY or /model/layers for the others. Keys that do not change the computation are ignored
/// in the text and refused, with the nearest known key, in overrides.
ModelSpec parse_spec(const ConfigText& config, const std::string& overrides_text = "{}",
                     std::optional<std::int64_t> layers = std::nullopt);

/// The shipped preset configs/models/NAME.json. Throws Error(usage); an unknown name is answered with those
/// there are.
ModelSpec load_preset(const std::string& name, const std::string& overrides_text = "{}",
                      std::optional<std::int64_t> layers = std::nullopt);

/// `folder`/config.json of a checkpoint. Throws Error(data) for a missing folder or a broken config.json.
ModelSpec load_checkpoint_spec(const std::string& folder, const std::string& overrides_text = "{}",
                               std::optional<std::int64_t> layers = std::nullopt);

/// Sorted names of the shipped presets.
std::vector<std::string> preset_names();

}  // namespace eps::model
