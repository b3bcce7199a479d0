// The two places where configs lie: the shipped presets and checkpoint folders.
#include "base/json.hpp"
#include "base/nearest.hpp"
#include "base/shipped.hpp"
#include "model/spec_json.hpp"

#include <algorithm>
#include <filesystem>
#include <system_error>

#include <fmt/core.h>

namespace eps::model {

ModelSpec load_preset(const std::string& name, const std::string& overrides_text,
                      std::optional<std::int64_t> layers) {
    const std::vector<std::string> names = preset_names();
    if (names.empty())
        throw Error(
            Exit::usage,
            "configs/models is neither beside nor above the program: install it, or run from a checkout");
    if (std::find(names.begin(), names.end(), name) == names.end())
        throw Error(Exit::usage, fmt::format("/model/preset is \"{}\", expected {}; nearest: \"{}\"", name,
                                             any_of_names(names), nearest(name, names)));
    const std::string path = find_shipped("configs/models") + '/' + name + ".json";
    return parse_spec({name, read_text_file(path, Exit::usage), path, Exit::usage}, overrides_text, layers);
}

ModelSpec load_checkpoint_spec(const std::string& folder, const std::string& overrides_text,
                               std::optional<std::int64_t> layers) {
    namespace fs = std::filesystem;
    std::error_code error;
    if (!fs::is_directory(folder, error))
        throw Error(Exit::data,
                    fmt::format("/model/checkpoint: {} is no folder, expected one with config.json and "
                                "*.safetensors",
                                folder));
    const std::string path = (fs::path(folder) / "config.json").string();
    const fs::path named = fs::absolute(folder, error).lexically_normal();
    const std::string name = (named.has_filename() ? named : named.parent_path()).filename().string();
    return parse_spec({name, read_text_file(path, Exit::data), path, Exit::data}, overrides_text, layers);
}

std::vector<std::string> preset_names() {
    return shipped_names("configs/models");
}

}  // namespace eps::model
