#include "config/case_config.hpp"

#include "base/error.hpp"
#include "base/json.hpp"
#include "base/nearest.hpp"
#include "config/common_keys.hpp"
#include "schedule/strategies.hpp"

#include <algorithm>
#include <map>
#include <utility>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

namespace eps::config {
namespace {

using placement::Placement;
using schedule::Schedule;
using schedule::Strategy;

const std::string kFree = "placement";  // the strategy's name where a case gives a placement
constexpr std::int64_t kMostCases = 4096;
constexpr std::int64_t kMostChunks = 4096;
constexpr std::int64_t kMostMultiprocessors = 1024;

const std::vector<std::string>& case_keys() {
    static const std::vector<std::string> keys{"strategy",  "placement", "base",    "chunks", "gemm",
                                               "dedup",     "combine",   "overlap", "oracle", "transport",
                                               "comm_ctas", "gemm_sms",  "dtype",   "link"};
    return keys;
}

/// An entry of `cases` with one element in the place of each list.
struct Combination {
    Json entry;
    std::vector<std::pair<std::string, std::int64_t>> elements;  // key, index in its list
};

std::vector<Combination> expand(const Json& entry, const std::string& where, const std::string& pointer) {
    std::vector<Combination> combinations{{entry, {}}};
    for (const auto& [key, value] : entry.items()) {
        if (!value.is_array()) continue;
        const std::string place = pointer + '/' + pointer_part(key);
        if (value.empty())
            refuse_at(where, place, "is an empty list, which makes no case; expected at least one value");
        if (static_cast<std::int64_t>(combinations.size() * value.size()) > kMostCases)
            refuse_at(where, place, fmt::format("makes more than {} cases", kMostCases));
        std::vector<Combination> longer;
        for (const Combination& combination : combinations)
            for (std::size_t i = 0; i < value.size(); ++i) {
                longer.push_back(combination);
                longer.back().entry[key] = value[i];
                longer.back().elements.emplace_back(key, static_cast<std::int64_t>(i));
            }
        combinations = std::move(longer);
    }
    return combinations;
}

Placement read_placement(ObjectReader& reader, std::int64_t world_size) {
    Placement placement;
    ObjectReader factors = reader.object("placement", {"pp", "attention", "experts"});
    placement.pp = factors.integer("pp", 1, 1);
    ObjectReader attention = factors.object("attention", {"tp", "dp"});
    placement.attention_tp = attention.integer("tp", 1, 1);
    placement.attention_dp = attention.integer("dp", 1, 1);
    ObjectReader experts = factors.object("experts", {"etp", "ep", "edp"});
    placement.etp = experts.integer("etp", 1, 1);
    placement.ep = experts.integer("ep", 1, 1);
    placement.edp = experts.integer("edp", 1, 1);
    try {
        check_placement(placement, world_size);
    } catch (const Error& error) {
        reader.refuse_because("placement", fmt::format("does not fit: {}", error.what()));
    }
    return placement;
}

std::vector<std::string> strategy_names() {
    std::vector<std::string> names;
    for (const Strategy& strategy : schedule::strategies()) names.push_back(strategy.name);
    return names;
}

/// The strategy of a case, and its placement.
std::pair<Strategy, Placement> read_strategy(ObjectReader& reader, std::int64_t world_size) {
    if (reader.has("placement")) {
        if (reader.has("strategy") && reader.at("strategy") != kFree)
            reader.refuse_because(
                "placement",
                "stands beside a strategy, which has a placement of its own; expected one of the two");
        reader.resolve("strategy", kFree);
        const Placement placement = read_placement(reader, world_size);
        return {schedule::free_placement(placement), placement};
    }
    if (!reader.has("strategy"))
        reader.refuse("strategy", any_of_names(strategy_names()) + ", or a placement");
    if (reader.at("strategy") == kFree)
        reader.refuse_because(
            "placement",
            "is missing, expected an object with pp, attention {tp, dp} and experts {etp, ep, edp}");
    const Strategy& strategy = *schedule::find_strategy(reader.choice("strategy", "", strategy_names()));
    const std::string base =
        strategy.uses("base") ? reader.choice("base", schedule::bases()[0], schedule::bases()) : "";
    return {strategy, strategy.placement(world_size, base)};
}

void refuse_unused_keys(const ObjectReader& reader, const Json& entry, const Strategy& strategy) {
    static const std::vector<std::string> kAlways{"strategy", "placement", "dtype", "link"};
    for (const auto& [key, value] : entry.items()) {
        if (strategy.uses(key) || std::find(kAlways.begin(), kAlways.end(), key) != kAlways.end()) continue;
        reader.refuse_because(
            key,
            fmt::format("is not used by strategy \"{}\"{}, which uses {}", strategy.name,
                        strategy.name == kFree ? " with these factors" : "", any_of_names(strategy.keys)));
    }
}

/// How exchanges and GEMMs share a GPU; elsewhere nothing but the default is accepted.
void read_gpu_keys(ObjectReader& reader, const Strategy& strategy, bool on_gpus, Schedule& schedule) {
    using schedule::Transport;
    if (strategy.uses("transport")) {
        if (!on_gpus && reader.text("transport", "auto") != "auto")
            reader.refuse_on_cpu("transport", "\"auto\"");
        const std::string transport = reader.choice("transport", "auto", {"auto", "nccl", "copy_engine"});
        schedule.transport = transport == "nccl"          ? Transport::nccl
                             : transport == "copy_engine" ? Transport::copy_engine
                                                          : Transport::automatic;
    }
    for (auto& [key, value] :
         {std::pair{"comm_ctas", &schedule.comm_ctas}, {"gemm_sms", &schedule.gemm_sms}}) {
        if (!strategy.uses(key)) continue;
        if (!reader.is_set(key)) {
            reader.resolve(key, nullptr);
            continue;
        }
        *value = reader.integer(key, 1, 1, kMostMultiprocessors);
        if (!on_gpus) reader.refuse_on_cpu(key, "null");
    }
}

Schedule read_schedule(ObjectReader& reader, const Strategy& strategy, const Placement& placement) {
    using schedule::Combine;
    using schedule::GemmChoice;
    Schedule schedule = schedule::default_schedule(strategy, placement);
    if (strategy.uses("chunks")) {
        if (schedule.chunk_by == schedule::ChunkBy::none) {
            schedule.micro_batches = reader.integer("chunks", schedule.micro_batches, 1, kMostChunks);
        } else if (!reader.has("chunks") || reader.at("chunks") == "auto") {
            reader.resolve("chunks", "auto");
        } else if (reader.at("chunks").is_string()) {
            reader.refuse("chunks", fmt::format("\"auto\" or an integer from 1 to {}", kMostChunks));
        } else {
            schedule.chunks = reader.integer("chunks", 1, 1, kMostChunks);
        }
    }
    const std::string gemm = reader.choice("gemm", "auto", {"auto", "group", "dense"});
    schedule.gemm = gemm == "group"   ? GemmChoice::group
                    : gemm == "dense" ? GemmChoice::dense
                                      : GemmChoice::automatic;
    if (strategy.uses("combine"))
        schedule.combine = reader.choice("combine", "per_token", {"per_token", "per_chunk"}) == "per_chunk"
                               ? Combine::per_chunk
                               : Combine::per_token;
    if (strategy.uses("dedup")) schedule.dedup = reader.boolean("dedup", schedule.dedup);
    if (strategy.uses("overlap")) schedule.overlap = reader.boolean("overlap", schedule.overlap);
    if (strategy.uses("oracle")) schedule.oracle = reader.boolean("oracle", schedule.oracle);
    return schedule;
}

/// A case without its name; `params` becomes every key that it uses.
Case read_case(const Combination& combination, const std::string& where, const std::string& pointer,
               const CaseDefaults& defaults, Json& params) {
    ObjectReader reader(combination.entry, where, pointer, case_keys(), params);
    for (const auto& [key, element_idx] : combination.elements) reader.point_to_element(key, element_idx);
    const auto [strategy, placement] = read_strategy(reader, defaults.world_size);
    refuse_unused_keys(reader, combination.entry, strategy);
    if (defaults.scope == Scope::moe && (strategy.name == "pp" || placement.pp > 1))
        reader.refuse_because(
            strategy.name == kFree ? "placement" : "strategy",
            "has pipeline stages, and the scope \"moe\" is a single layer; expected another "
            "strategy or the scope \"model\" or \"layer\"");
    Case made;
    made.strategy = strategy.name;
    made.placement = placement;
    made.schedule = read_schedule(reader, strategy, placement);
    made.dtype = read_dtype(reader, defaults.dtype);
    read_gpu_keys(reader, strategy, defaults.on_gpus, made.schedule);
    made.link = read_link(reader, defaults.link);
    made.params = params.dump();
    return made;
}

std::string compact(const Placement& p) {
    return fmt::format("pp{}.tp{}.dp{}.etp{}.ep{}.edp{}", p.pp, p.attention_tp, p.attention_dp, p.etp, p.ep,
                       p.edp);
}

/// The strategy, then, sorted by key, what is not the strategy's default; dtype and wire always.
std::string name_of_case(const Case& made, const Json& params, const CaseDefaults& defaults) {
    Json bare = Json::object(), bare_params;
    const char* const what = made.strategy == kFree ? "placement" : "strategy";
    bare[what] = params.at(what);
    read_case({bare, {}}, "", "", defaults, bare_params);
    std::map<std::string, std::string> parts;
    for (const auto& [key, value] : params.items())
        if (key != "link" && (key == "dtype" || value != bare_params.at(key)))
            parts[key] = value.is_string() ? value.get<std::string>() : value.dump();
    if (made.strategy == kFree) parts["placement"] = compact(made.placement);
    if (made.link) parts["link"] = fmt::format("{}GBps,{}us", made.link->gb_per_s, made.link->latency_us);
    std::string name = made.strategy;
    for (const auto& [key, value] : parts) name += fmt::format("/{}={}", key, value);
    return name;
}

}  // namespace

std::vector<Case> read_cases(const Json& list, const std::string& where, const CaseDefaults& defaults,
                             Json& resolved) {
    if (!list.is_array() || list.empty())
        refuse_at(
            where, "/cases",
            fmt::format("is {}, expected a list of at least one case, for example [{{\"strategy\": \"ep\"}}]",
                        shown(list)));
    std::vector<Case> cases;
    std::map<std::string, std::string> pointer_of_name;
    resolved = Json::array();
    for (std::size_t i = 0; i < list.size(); ++i) {
        const std::string pointer = fmt::format("/cases/{}", i);
        // An entry of the wrong shape is refused when it is read as the only combination.
        const std::vector<Combination> combinations =
            list[i].is_object() ? expand(list[i], where, pointer) : std::vector<Combination>{{list[i], {}}};
        for (const Combination& combination : combinations) {
            Json params;
            Case made = read_case(combination, where, pointer, defaults, params);
            made.name = name_of_case(made, params, defaults);
            const auto [first, is_new] = pointer_of_name.insert({made.name, pointer});
            if (!is_new)
                refuse_at(where, pointer,
                          fmt::format("makes the case {}, which {} makes already; expected every case once",
                                      made.name, first->second));
            if (static_cast<std::int64_t>(cases.size()) == kMostCases)
                refuse_at(where, pointer, fmt::format("makes more than {} cases", kMostCases));
            cases.push_back(std::move(made));
            resolved.push_back(std::move(params));
        }
    }
    return cases;
}

}  // namespace eps::config
