// A published checkpoint as a WeightSource: safetensors files, with or without an index.
#pragma once

#include "checkpoint/weight_source.hpp"
#include "model/spec.hpp"

#include <memory>
#include <string>

namespace eps::checkpoint {

/// `folder` holds model.safetensors.index.json and the files it names, or model.safetensors. Opens the files
/// of the layers that `spec` builds and checks every tensor's presence, shape and dtype (bf16, f16, f32)
/// before anything is read; layers beyond are not looked at. Throws Error(data), naming file and tensor with
/// what was expected and what was found; a tensor that the spec does not know (a bias, a scale, experts fused
/// into one tensor) means another model and is refused by name.
std::unique_ptr<WeightSource> open_checkpoint(const std::string& folder, const model::ModelSpec& spec);

}  // namespace eps::checkpoint
