#include "checkpoint/checkpoint.hpp"

#include "base/json.hpp"
#include "base/nearest.hpp"
#include "checkpoint/convert.hpp"
#include "checkpoint/reading.hpp"
#include "checkpoint/safetensors.hpp"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <map>
#include <system_error>
#include <unordered_map>
#include <utility>
#include <vector>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

namespace eps::checkpoint {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

/// Which file of the folder holds which tensor.
struct Listing {
    std::string where;  // the file that says so
    std::map<std::string, std::string> file_of_tensor;
};

Listing listing_of_index(const std::string& path) {
    const json index = parse_json_strict(read_text_file(path, Exit::data), path, Exit::data);
    if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object())
        refuse(path, "has no object weight_map (tensor name to file name)");
    Listing listing{path, {}};
    for (const auto& [tensor, file] : index["weight_map"].items()) {
        const bool is_name = file.is_string() && !file.get<std::string>().empty() &&
                             fs::path(file.get<std::string>()).filename() == file.get<std::string>();
        if (!is_name)
            refuse(path, fmt::format("/weight_map/{} is {}, expected the name of a file in this folder",
                                     pointer_part(tensor), shown(file)));
        listing.file_of_tensor.emplace(tensor, file.get<std::string>());
    }
    return listing;
}

/// Tensors of layers that are not built, and names that carry no weights of their own.
bool is_ignored(const std::string& name, const model::ModelSpec& spec) {
    constexpr std::string_view kLayers = "model.layers.";
    if (name == "lm_head.weight" && spec.tie_word_embeddings) return true;
    if (name.ends_with(".rotary_emb.inv_freq")) return true;
    if (!name.starts_with(kLayers)) return false;
    std::int64_t layer = -1;
    const char* const end = name.data() + name.size();
    const auto [after, error] = std::from_chars(name.data() + kLayers.size(), end, layer);
    return error == std::errc() && after != end && *after == '.' && layer >= spec.num_layers;
}

/// Compares the names that are there with those of the model.
void check_names(const Listing& listing, const model::Catalog& catalog, const model::ModelSpec& spec) {
    std::vector<std::string> unknown;
    for (const auto& [name, file] : listing.file_of_tensor)
        if (catalog.find(name) == nullptr && !is_ignored(name, spec)) unknown.push_back(name);
    for (const std::string& name : unknown)
        if (name.ends_with(".mlp.experts.gate_up_proj") || name.ends_with(".mlp.experts.down_proj"))
            refuse(
                listing.where,
                fmt::format("tensor {} holds all experts in one, expected one tensor per expert as published "
                            "(.mlp.experts.0.gate_proj.weight): save it with save_original_format=True",
                            name));
    for (const model::Tensor& tensor : catalog.tensors()) {
        if (listing.file_of_tensor.count(tensor.name) > 0) continue;
        const std::string hint = unknown.empty() ? ""
                                                 : "; it has " + nearest(tensor.name, unknown) +
                                                       ", which the config does not describe";
        refuse(listing.where, fmt::format("tensor {} is missing, expected {} x {} values{}", tensor.name,
                                          tensor.rows, tensor.cols, hint));
    }
    if (!unknown.empty())
        refuse(listing.where,
               fmt::format(
                   "tensor {} is not one of the model that the config describes ({} such): another model?",
                   unknown.front(), unknown.size()));
}

/// Returns the dtype of a tensor that is as the model wants it.
DType check_tensor(const model::Tensor& wanted, const StoredTensor& found, const std::string& path) {
    const auto shape = wanted.is_vector ? std::vector{wanted.cols} : std::vector{wanted.rows, wanted.cols};
    const auto dtype = float_dtype(found.dtype);
    if (!dtype)
        refuse(path,
               fmt::format("tensor {} has dtype {}, expected BF16, F16 or F32", wanted.name, found.dtype));
    if (found.shape != shape)
        refuse(path, fmt::format("tensor {} has shape {}, expected {} by the config and /model/overrides",
                                 wanted.name, shape_text(found.shape), shape_text(shape)));
    return *dtype;
}

class Checkpoint : public WeightSource {
  public:
    Checkpoint(const std::string& folder, const model::ModelSpec& spec) : catalog_(spec) {
        std::error_code error;
        if (!fs::is_directory(folder, error)) refuse(folder, "is no folder, expected one with *.safetensors");
        const std::string index = (fs::path(folder) / "model.safetensors.index.json").string();
        const std::string single = (fs::path(folder) / "model.safetensors").string();
        Listing listing;
        if (fs::exists(index, error)) {
            listing = listing_of_index(index);
        } else if (fs::exists(single, error)) {
            listing.where = single;
            for (const StoredTensor& tensor : open(single).tensors())
                listing.file_of_tensor.emplace(tensor.name, "model.safetensors");
        } else {
            refuse(folder, "has neither model.safetensors.index.json nor model.safetensors");
        }
        check_names(listing, catalog_, spec);
        for (const model::Tensor& tensor : catalog_.tensors())
            locate(tensor, (fs::path(folder) / listing.file_of_tensor.at(tensor.name)).string(),
                   listing.where);
    }

    void read(const std::string& name, Range rows, Range columns, Rows out) const override {
        const model::Tensor& tensor = require_tensor(catalog_, name);
        check_reading(tensor, rows, columns, out);
        if (rows.empty() || columns.empty()) return;
        const Location& from = locations_.at(name);
        const std::int64_t value_bytes = bytes_of(from.dtype), row_bytes = tensor.cols * value_bytes;
        const std::int64_t first = from.stored->offset + rows.begin * row_bytes + columns.begin * value_bytes;
        const std::byte* const data = from.file->data(*from.stored) - from.stored->offset + first;
        const bool is_one_piece = columns.size() == tensor.cols;
        if (is_one_piece) from.file->will_need(first, rows.size() * row_bytes);
        if (is_one_piece && out.stride == tensor.cols) {
            convert_values(data, from.dtype, out.data, out.dtype, rows.size() * tensor.cols);
            return;
        }
        for (std::int64_t i = 0; i < rows.size(); ++i)
            convert_values(data + i * row_bytes, from.dtype, out.data + i * out.stride * bytes_of(out.dtype),
                           out.dtype, columns.size());
    }

  private:
    struct Location {
        const Safetensors* file;
        const StoredTensor* stored;
        DType dtype;
    };

    const Safetensors& open(const std::string& path) {
        std::unique_ptr<Safetensors>& file = files_[path];
        if (!file) file = std::make_unique<Safetensors>(path);
        return *file;
    }

    void locate(const model::Tensor& tensor, const std::string& path, const std::string& said_by) {
        std::error_code error;
        if (files_.count(path) == 0 && !fs::exists(path, error))
            refuse(path,
                   fmt::format("no such file, but {} says that it holds tensor {}", said_by, tensor.name));
        const Safetensors& file = open(path);
        const StoredTensor* const stored = file.find(tensor.name);
        if (stored == nullptr)
            refuse(path,
                   fmt::format("tensor {} is missing, but {} says that it is here", tensor.name, said_by));
        locations_.emplace(tensor.name, Location{&file, stored, check_tensor(tensor, *stored, path)});
    }

    model::Catalog catalog_;
    std::map<std::string, std::unique_ptr<Safetensors>> files_;
    std::unordered_map<std::string, Location> locations_;
};

}  // namespace

std::unique_ptr<WeightSource> open_checkpoint(const std::string& folder, const model::ModelSpec& spec) {
    return std::make_unique<Checkpoint>(folder, spec);
}

}  // namespace eps::checkpoint
