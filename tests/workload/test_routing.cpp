#include "base/error.hpp"
#include "tests/catch.hpp"
#include "workload/routing.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

using namespace eps;
using namespace eps::workload;

namespace {

constexpr std::int64_t kNumTokens = 20000;

model::ModelSpec gate(std::int64_t num_experts, std::int64_t top_k, std::int64_t n_group = 1,
                      std::int64_t topk_group = 1) {
    model::ModelSpec spec;
    spec.n_routed_experts = num_experts;
    spec.num_experts_per_tok = top_k;
    spec.group_limited = n_group > 1;
    spec.n_group = n_group;
    spec.topk_group = topk_group;
    spec.num_layers = spec.num_hidden_layers = 4;
    return spec;
}

/// Gates of real models and awkward ones.
std::vector<model::ModelSpec> gates() {
    return {gate(64, 6), gate(160, 6, 8, 3), gate(15, 3, 5, 3), gate(16, 3, 4, 2), gate(8, 2),
            gate(7, 7),  gate(1, 1),         gate(16, 8, 4, 2), gate(6, 1, 6, 1),  gate(12, 5, 3, 3)};
}

std::vector<std::int32_t> ids_of(const Routing& routing, const model::ModelSpec& spec,
                                 Range tokens = {0, kNumTokens}, std::uint64_t seed = 1,
                                 std::int64_t layer = 1) {
    std::vector<std::int32_t> ids(static_cast<std::size_t>(tokens.size() * spec.num_experts_per_tok), -1);
    make_forced_routing(routing, spec, seed, {layer}, kNumTokens)->write_ids(layer, tokens, ids);
    return ids;
}

void check_legal(const std::vector<std::int32_t>& ids, const model::ModelSpec& spec) {
    const auto top_k = static_cast<std::size_t>(spec.num_experts_per_tok);
    const std::int64_t group_size = spec.n_routed_experts / (spec.group_limited ? spec.n_group : 1);
    bool in_range = true, ascending = true, in_groups = true;
    for (std::size_t first = 0; first < ids.size(); first += top_k) {
        std::set<std::int64_t> groups;
        for (std::size_t slot = 0; slot < top_k; ++slot) {
            const std::int32_t id = ids[first + slot];
            in_range = in_range && id >= 0 && id < spec.n_routed_experts;
            ascending = ascending && (slot == 0 || ids[first + slot - 1] < id);
            groups.insert(id / group_size);
        }
        in_groups =
            in_groups && (!spec.group_limited || static_cast<std::int64_t>(groups.size()) <= spec.topk_group);
    }
    CHECK(in_range);
    CHECK(ascending);  // therefore distinct
    CHECK(in_groups);
}

std::vector<double> loads_of(const std::vector<std::int32_t>& ids, const model::ModelSpec& spec) {
    std::vector<double> loads(static_cast<std::size_t>(spec.n_routed_experts));
    for (const std::int32_t id : ids) ++loads[static_cast<std::size_t>(id)];
    for (double& load : loads) load /= static_cast<double>(ids.size());
    return loads;
}

double share_of(const std::vector<std::int32_t>& ids, Range experts) {
    const auto hot =
        std::count_if(ids.begin(), ids.end(), [&](std::int32_t id) { return experts.contains(id); });
    return static_cast<double>(hot) / static_cast<double>(ids.size());
}

}  // namespace

TEST_CASE("the gate's own routing forces nothing") {
    CHECK(make_forced_routing(GateRouting{}, gate(8, 2), 1, {1}, 10) == nullptr);
}

TEST_CASE("kinds by name") {
    CHECK(kind_of(GateRouting{}) == "gate");
    CHECK(kind_of(UniformRouting{}) == "uniform");
    CHECK(kind_of(ZipfRouting{}) == "zipf");
    CHECK(kind_of(HotRouting{}) == "hot");
    CHECK(kind_of(FileRouting{}) == "file");
}

TEST_CASE("forced ids depend on seed, layer and global token alone") {
    const model::ModelSpec spec = gate(160, 6, 8, 3);
    for (const Routing& routing :
         {Routing(UniformRouting{}), Routing(ZipfRouting{1.2}), Routing(HotRouting{0, 20, 0.5})}) {
        INFO(kind_of(routing));
        const auto all = ids_of(routing, spec, {0, 500});
        CHECK(ids_of(routing, spec, {0, 500}) == all);
        for (const Range part : {Range{0, 1}, Range{123, 321}, Range{499, 500}, Range{77, 77}})
            CHECK(ids_of(routing, spec, part) ==
                  std::vector<std::int32_t>(all.begin() + part.begin * 6, all.begin() + part.end * 6));
        CHECK(ids_of(routing, spec, {0, 500}, 2) != all);
        CHECK(ids_of(routing, spec, {0, 500}, 1, 2) != all);
    }
}

TEST_CASE("uniform: legal, and every expert alike") {
    for (const model::ModelSpec& spec : gates()) {
        INFO(spec.n_routed_experts << " experts, top " << spec.num_experts_per_tok << ", groups "
                                   << spec.n_group);
        const auto ids = ids_of(UniformRouting{}, spec);
        check_legal(ids, spec);
        const double mean = 1.0 / static_cast<double>(spec.n_routed_experts);
        for (const double load : loads_of(ids, spec)) CHECK(load == Approx(mean).epsilon(0.15));
    }
}

TEST_CASE("zipf: legal for every gate and exponent") {
    for (const model::ModelSpec& spec : gates())
        for (const double exponent : {0.0, 0.5, 1.0, 2.0, 10.0})
            check_legal(ids_of(ZipfRouting{exponent}, spec, {0, 500}), spec);
}

TEST_CASE("zipf with one expert per token has the loads rank^-exponent") {
    const model::ModelSpec spec = gate(20, 1);
    for (const double exponent : {0.5, 1.0, 2.0}) {
        auto loads = loads_of(ids_of(ZipfRouting{exponent}, spec), spec);
        std::sort(loads.rbegin(), loads.rend());
        double sum = 0;
        for (int rank = 1; rank <= 20; ++rank) sum += std::pow(rank, -exponent);
        for (int rank = 1; rank <= 20; ++rank)
            CHECK(loads[static_cast<std::size_t>(rank - 1)] ==
                  Approx(std::pow(rank, -exponent) / sum).margin(0.01));
    }
}

TEST_CASE("zipf: the popular experts differ by layer, and more exponent is more skew") {
    const model::ModelSpec spec = gate(160, 6, 8, 3);
    const auto most_popular = [&](double exponent, std::int64_t layer) {
        const auto loads = loads_of(ids_of(ZipfRouting{exponent}, spec, {0, kNumTokens}, 1, layer), spec);
        const auto most = std::max_element(loads.begin(), loads.end());
        return std::pair{most - loads.begin(), *most};
    };
    const auto [expert_1, load_1] = most_popular(1.0, 1);
    const auto [expert_2, load_2] = most_popular(1.0, 2);
    CHECK(expert_1 != expert_2);
    CHECK(load_1 > 10.0 / 160);
    CHECK(load_2 > 10.0 / 160);
    CHECK(most_popular(0.3, 1).second < load_1);
}

TEST_CASE("hot: legal, and the share is reached, for every gate") {
    for (const model::ModelSpec& spec : gates())
        for (const Range hot : {Range{0, 1}, Range{0, spec.n_routed_experts}, Range{1, 5}, Range{3, 6},
                                Range{spec.n_routed_experts / 2, spec.n_routed_experts}}) {
            if (hot.empty() || hot.end > spec.n_routed_experts) continue;
            const ShareLimits limits = hot_share_limits(hot, spec);
            for (const double part : {0.0, 0.3, 0.5, 0.77, 1.0}) {
                const double share = limits.lowest + part * (limits.highest - limits.lowest);
                INFO(spec.n_routed_experts << " experts, top " << spec.num_experts_per_tok << ", groups "
                                           << spec.n_group << ", hot [" << hot.begin << ", " << hot.end
                                           << "), share " << share);
                const auto ids = ids_of(HotRouting{hot.begin, hot.end, share}, spec);
                check_legal(ids, spec);
                CHECK(share_of(ids, hot) == Approx(share).margin(0.01));
            }
        }
}

TEST_CASE("hot: hot experts are alike, and so are the others") {
    const model::ModelSpec spec = gate(64, 6);
    const auto loads = loads_of(ids_of(HotRouting{10, 20, 0.6}, spec), spec);
    for (std::size_t expert = 0; expert < 64; ++expert)
        CHECK(loads[expert] == Approx(expert >= 10 && expert < 20 ? 0.06 : 0.4 / 54).epsilon(0.15));
}

TEST_CASE("hot: the limits are those of all sets that the gate may choose") {
    // The slow twin: all sets of top_k experts within the groups.
    for (const model::ModelSpec& spec : gates()) {
        if (spec.n_routed_experts > 16) continue;
        const std::int64_t num_experts = spec.n_routed_experts;
        const std::int64_t group_size = num_experts / (spec.group_limited ? spec.n_group : 1);
        for (std::int64_t begin = 0; begin < num_experts; ++begin)
            for (std::int64_t end = begin + 1; end <= num_experts; ++end) {
                int fewest = 100, most = -1;
                for (unsigned set = 0; set < (1U << num_experts); ++set) {
                    if (__builtin_popcount(set) != spec.num_experts_per_tok) continue;
                    unsigned groups = 0, hot = 0;
                    for (std::int64_t expert = 0; expert < num_experts; ++expert)
                        if ((set >> expert & 1U) != 0) {
                            groups |= 1U << (expert / group_size);
                            hot += begin <= expert && expert < end ? 1U : 0U;
                        }
                    if (spec.group_limited && __builtin_popcount(groups) > spec.topk_group) continue;
                    fewest = std::min(fewest, static_cast<int>(hot));
                    most = std::max(most, static_cast<int>(hot));
                }
                const ShareLimits limits = hot_share_limits({begin, end}, spec);
                CHECK(limits.lowest * static_cast<double>(spec.num_experts_per_tok) == Approx(fewest));
                CHECK(limits.highest * static_cast<double>(spec.num_experts_per_tok) == Approx(most));
            }
    }
}

TEST_CASE("hot: a share out of reach is refused") {
    const auto refuse = [](const HotRouting& hot, const model::ModelSpec& spec, const std::string& message) {
        try {
            make_forced_routing(hot, spec, 1, {1}, 10);
            FAIL("accepted");
        } catch (const Error& error) {
            CHECK(error.status() == Exit::usage);
            CHECK_THAT(error.what(), contains_text(message));
        }
    };
    refuse({0, 1, 0.5}, gate(64, 6), "experts [0, 1) can get a share from 0 to 0.16666666666666666, not 0.5");
    refuse({0, 63, 0.5}, gate(64, 6),
           "experts [0, 63) can get a share from 0.8333333333333334 to 1, not 0.5");
    // One group of four kept groups' worth: 8 of 16 experts in 2 groups of 4, all of them used.
    refuse({0, 4, 0.75}, gate(16, 8, 4, 2), "can get a share from 0 to 0.5, not 0.75");
    refuse({0, 4, std::nan("")}, gate(16, 8, 4, 2), "not nan");
}
