#include "workload/file_routing.hpp"

#include "base/error.hpp"

#include <algorithm>

#include <fmt/core.h>

namespace eps::workload {
namespace {

std::string tensor_name(std::int64_t layer) {
    return fmt::format("layers.{}.topk_ids", layer);
}

}  // namespace

RecordedRouting::RecordedRouting(const model::ModelSpec& spec, const std::string& path,
                                 const std::vector<std::int64_t>& layers, std::int64_t num_tokens)
    : limits_(spec), file_(path) {
    for (const std::int64_t layer : layers)
        ids_of_layer_.insert({layer, IntegerMatrix(file_, tensor_name(layer), num_tokens, limits_.top_k)});
}

void RecordedRouting::refuse(std::int64_t layer, std::int64_t token, const std::string& problem) const {
    throw Error(Exit::data,
                fmt::format("{}: {}, token {}: {}", file_.path(), tensor_name(layer), token, problem));
}

void RecordedRouting::read_token(std::int64_t layer, std::int64_t token, std::span<std::int32_t> ids) const {
    const IntegerMatrix& stored = ids_of_layer_.at(layer);
    for (std::size_t slot = 0; slot < ids.size(); ++slot) {
        const std::int64_t id = stored.at(token, static_cast<std::int64_t>(slot));
        if (id < 0 || id >= limits_.num_experts)
            refuse(layer, token, fmt::format("expert {}, expected 0 to {}", id, limits_.num_experts - 1));
        ids[slot] = static_cast<std::int32_t>(id);
    }
    std::sort(ids.begin(), ids.end());
    const auto twice = std::adjacent_find(ids.begin(), ids.end());
    if (twice != ids.end())
        refuse(layer, token, fmt::format("expert {} twice, expected distinct experts", *twice));
    std::int64_t num_groups = 1;
    for (std::size_t i = 1; i < ids.size(); ++i)
        num_groups += ids[i] / limits_.group_size() != ids[i - 1] / limits_.group_size();
    if (num_groups > limits_.groups_kept)
        refuse(layer, token,
               fmt::format("experts of {} groups, expected at most {} of the {}", num_groups,
                           limits_.groups_kept, limits_.num_groups));
}

void RecordedRouting::write_ids(std::int64_t layer, Range tokens, std::span<std::int32_t> out) const {
    if (!ids_of_layer_.contains(layer))
        throw Error(Exit::internal, fmt::format("{}: layer {} was not announced", file_.path(), layer));
    const auto top_k = static_cast<std::size_t>(limits_.top_k);
    for (std::int64_t token = tokens.begin; token < tokens.end; ++token)
        read_token(layer, token, out.subspan(static_cast<std::size_t>(token - tokens.begin) * top_k, top_k));
}

}  // namespace eps::workload
