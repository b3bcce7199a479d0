#include "schedule/strategies.hpp"

#include <algorithm>

namespace eps::schedule {
namespace {

using placement::Placement;
using Keys = std::vector<std::string>;

Placement ep(std::int64_t world_size, const std::string&) {
    return {.attention_dp = world_size, .ep = world_size};
}
Placement dp(std::int64_t world_size, const std::string&) {
    return {.attention_dp = world_size, .edp = world_size};
}
Placement tp(std::int64_t world_size, const std::string&) {
    return {.attention_tp = world_size, .etp = world_size};
}
Placement pp(std::int64_t world_size, const std::string&) {
    return {.pp = world_size};
}
Placement tp_ep(std::int64_t world_size, const std::string&) {
    return {.attention_tp = world_size, .ep = world_size};
}
Placement of_base(std::int64_t world_size, const std::string& base) {
    return find_strategy(base)->placement(world_size, base);
}

const Schedule kSerial{};
const Schedule kPipelined{.chunk_by = ChunkBy::expert, .chunks = {}, .overlap = true};
const Schedule kChunkedSerial{.chunk_by = ChunkBy::expert, .chunks = {}};

// How ranks exchange anything at all, and how rows travel to experts and home.
const Keys kTransport{"transport", "comm_ctas", "gemm_sms"};
const Keys kRows{"dedup", "combine", "overlap", "oracle"};

Keys join(Keys keys, const Keys& more) {
    keys.insert(keys.end(), more.begin(), more.end());
    return keys;
}

}  // namespace

const std::vector<Strategy>& strategies() {
    static const std::vector<Strategy> table{
        {"ep", "experts split over all ranks: dispatch, all experts, combine",
         join(join({"gemm"}, kRows), kTransport), kSerial, ep},
        {"dp", "everything replicated, sequences split: no exchange", {"gemm"}, kSerial, dp},
        {"tp", "every weight matrix split: all-reduce after attention and experts",
         join({"gemm"}, kTransport), kSerial, tp},
        {"pp", "layers split into stages: micro-batches of whole sequences, point to point",
         join({"chunks", "gemm"}, kTransport), kSerial, pp},
        {"tp_ep", "attention split by heads, experts over all ranks: reduce-scatter, all-to-all, all-gather",
         join(join({"gemm"}, kRows), kTransport), kSerial, tp_ep},
        {"eps",
         "experts in chunks: dispatch of the next and combine of finished tokens beside the GEMMs (EPS-MoE)",
         join(join({"base", "chunks", "gemm"}, kRows), kTransport), kPipelined, of_base},
        {"eps_serial", "the same chunks, each op after the previous one: the cost of chunking alone",
         join({"base", "chunks", "gemm", "dedup", "combine", "oracle"}, kTransport), kChunkedSerial, of_base},
    };
    return table;
}

bool Strategy::uses(const std::string& key) const {
    return std::find(keys.begin(), keys.end(), key) != keys.end();
}

const Strategy* find_strategy(const std::string& name) {
    for (const Strategy& strategy : strategies())
        if (strategy.name == name) return &strategy;
    return nullptr;
}

const std::vector<std::string>& bases() {
    static const std::vector<std::string> names{"ep", "tp_ep"};
    return names;
}

Strategy free_placement(const Placement& placement) {
    Keys keys{"gemm"};
    if (placement.pp > 1) keys.push_back("chunks");
    if (!placement.rows_replicated()) keys = join(keys, kRows);
    return {"placement", "any placement with the serial schedule", join(keys, kTransport), kSerial, nullptr};
}

Schedule default_schedule(const Strategy& strategy, const Placement& placement) {
    Schedule schedule = strategy.schedule;
    schedule.micro_batches = placement.pp;
    return schedule;
}

}  // namespace eps::schedule
