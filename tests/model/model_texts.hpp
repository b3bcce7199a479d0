// Configs for tests, as text.
#pragma once

#include "base/json.hpp"
#include "model/spec_json.hpp"

#include <string>

/// The shipped preset's text, to be parsed with changes.
inline std::string preset_text(const std::string& name) {
    return eps::read_text_file(std::string(EPS_SOURCE_DIR) + "/configs/models/" + name + ".json",
                               eps::Exit::internal);
}

/// The preset tiny patched by `overrides`.
inline eps::model::ModelSpec tiny_with(const std::string& overrides) {
    return eps::model::load_preset("tiny", overrides);
}
