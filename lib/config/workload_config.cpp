#include "config/workload_config.hpp"

#include "base/json.hpp"

#include <map>
#include <numeric>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

namespace eps::config {
namespace {

constexpr std::int64_t kMostSequences = std::int64_t{1} << 20;
constexpr std::int64_t kMostTokens = (std::int64_t{1} << 31) - 1;  // rows are counted in 32 bits

std::vector<std::int64_t> read_length_list(ObjectReader& reader, std::int64_t batch, bool batch_is_given) {
    const auto num_lengths = static_cast<std::int64_t>(reader.at("sequence_length").size());
    if (num_lengths == 0 || num_lengths > kMostSequences)
        reader.refuse("sequence_length", fmt::format("a list of 1 to {} lengths", kMostSequences));
    if (batch_is_given && batch != num_lengths)
        reader.refuse_because(
            "sequence_length",
            fmt::format("has {} lengths for a batch of {}, expected one per sequence", num_lengths, batch));
    std::vector<std::int64_t> lengths = reader.integers("sequence_length", 1, kMostTokens);
    const std::int64_t num_tokens = std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0});
    if (num_tokens > kMostTokens)
        reader.refuse_because("sequence_length", fmt::format("adds up to {} tokens, expected at most {}",
                                                             num_tokens, kMostTokens));
    return lengths;
}

std::vector<std::int64_t> read_lengths(ObjectReader& reader) {
    const bool is_list = reader.has("sequence_length") && reader.at("sequence_length").is_array();
    const bool batch_is_given = reader.has("batch");
    const std::int64_t batch = reader.integer("batch", 8, 1, kMostSequences);
    if (is_list) {
        std::vector<std::int64_t> lengths = read_length_list(reader, batch, batch_is_given);
        reader.resolve("batch", lengths.size());
        return lengths;
    }
    if (reader.has("sequence_length") && !reader.at("sequence_length").is_number())
        reader.refuse("sequence_length",
                      fmt::format("an integer from 1 to {}, or a list of one per sequence", kMostTokens));
    const std::int64_t length = reader.integer("sequence_length", 128, 1, kMostTokens);
    if (batch * length > kMostTokens)
        reader.refuse_because("sequence_length",
                              fmt::format("is {}, times batch {} that is {} tokens, expected at most {}",
                                          length, batch, batch * length, kMostTokens));
    return std::vector<std::int64_t>(static_cast<std::size_t>(batch), length);
}

HotRouting read_hot(ObjectReader& reader, const model::ModelSpec& spec) {
    if (!reader.has("experts") || !reader.at("experts").is_array() || reader.at("experts").size() != 2)
        reader.refuse("experts", "[first, last): the hot experts");
    const std::vector<std::int64_t> experts = reader.integers("experts", 0, spec.n_routed_experts);
    if (experts[0] >= experts[1]) reader.refuse("experts", "[first, last) with first below last");
    HotRouting hot{experts[0], experts[1], 0};
    if (!reader.has("share"))
        reader.refuse("share", "the part of the (token, slot) pairs that goes to these experts, 0 to 1");
    hot.share = reader.number("share", 0, 0, 1);
    const workload::ShareLimits limits = workload::hot_share_limits({hot.first_expert, hot.end_expert}, spec);
    if (hot.share < limits.lowest || hot.share > limits.highest)
        reader.refuse(
            "share",
            fmt::format("{} to {}: a token goes to {} distinct experts{}, and these are {} of {}",
                        limits.lowest, limits.highest, spec.num_experts_per_tok,
                        spec.group_limited ? fmt::format(" in {} of {} groups", spec.topk_group, spec.n_group)
                                           : std::string(),
                        experts[1] - experts[0], spec.n_routed_experts));
    return hot;
}

Routing read_routing(ObjectReader& workload, const model::ModelSpec& spec) {
    ObjectReader reader = workload.object("routing", {"kind", "exponent", "experts", "share", "path"});
    const std::string kind = reader.choice("kind", "gate", {"gate", "uniform", "zipf", "hot", "file"});
    const std::map<std::string, std::vector<std::string>> used{{"gate", {}},
                                                               {"uniform", {}},
                                                               {"zipf", {"exponent"}},
                                                               {"hot", {"experts", "share"}},
                                                               {"file", {"path"}}};
    for (const auto& [other_kind, keys] : used)
        for (const std::string& key : keys)
            if (other_kind != kind && reader.has(key))
                reader.refuse_because(
                    key, fmt::format("is not used by routing \"{}\", only by \"{}\"", kind, other_kind));
    if (kind != "gate" && spec.first_moe_layer() < 0)
        reader.refuse_because(
            "kind",
            fmt::format("is \"{}\", but no layer of this model has experts; expected \"gate\"", kind));
    if (kind == "uniform") return UniformRouting{};
    if (kind == "zipf") return ZipfRouting{reader.number("exponent", 1, 0, 10)};
    if (kind == "hot") return read_hot(reader, spec);
    if (kind == "gate") return GateRouting{};
    if (!reader.has("path")) reader.refuse("path", "a safetensors file with layers.{i}.topk_ids");
    return FileRouting{reader.text("path", "")};
}

}  // namespace

Workload read_workload(ObjectReader& config, Scope scope, const model::ModelSpec& spec) {
    ObjectReader reader =
        config.object("workload", {"batch", "sequence_length", "tokens", "routing", "seed"});
    Workload workload;
    workload.sequence_lengths = read_lengths(reader);
    workload.tokens = reader.text("tokens", "random");
    if (workload.tokens != "random" && scope != Scope::model)
        reader.refuse_because(
            "tokens", fmt::format("is {}, but the scope \"{}\" starts from random rows; expected \"random\"",
                                  shown(reader.at("tokens")), name_of(scope)));
    workload.routing = read_routing(reader, spec);
    workload.seed = reader.seed("seed", 1);
    return workload;
}

}  // namespace eps::config
