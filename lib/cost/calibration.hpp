// What a machine was measured to take: plain tables of seconds, read and written as JSON
// (configs/schema/calibration.schema.json). op_times.hpp makes times of ops from them.
#pragma once

#include "base/dtype.hpp"
#include "base/link.hpp"
#include "cost/time_table.hpp"
#include "plan/op.hpp"

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace eps::cost {

/// Where and with what it was measured. Two calibrations with the same fields may be merged.
struct Measured {
    std::string machine;        // CPU model, or GPU
    std::string libraries;      // of GEMMs and of exchanges, with versions
    std::int64_t ranks = 1;     // that measured side by side
    std::int64_t threads = 1;   // of a rank's compute lane
    bool cores_shared = false;  // more ranks than cores
    // Weights came from memory, as in a model that is larger than a core's caches; otherwise from these.
    bool beyond_caches = false;

    friend bool operator==(const Measured&, const Measured&) = default;
};

/// GEMMs of `num_experts` experts, each with as many rows as the table's size.
struct ExpertGemmTimes {
    plan::GemmKind kind = plan::GemmKind::group;
    std::int64_t num_experts = 1;
    TimeTable by_rows;
    bool with_swiglu = false;  // of gate and up: the backend does the op `swiglu` behind it as part of it

    friend bool operator==(const ExpertGemmTimes&, const ExpertGemmTimes&) = default;
};

/// out [m, n] = in [m, k] W^T. A shape that no dense op (no expert) uses lacks that part.
struct GemmTimes {
    std::int64_t n = 0;
    std::int64_t k = 0;
    TimeTable by_rows;  // op `linear`; may be empty
    std::vector<ExpertGemmTimes>
        experts;  // op `expert_gemm`: per kind by ascending num_experts; may be empty

    friend bool operator==(const GemmTimes&, const GemmTimes&) = default;
};

struct GateTimes {
    std::int64_t num_experts = 0;
    std::int64_t hidden = 0;
    TimeTable by_rows;

    friend bool operator==(const GateTimes&, const GateTimes&) = default;
};

/// Causal attention of one sequence with so many columns of q and of the output.
struct AttentionTimes {
    std::int64_t q_cols = 0;
    std::int64_t out_cols = 0;
    TimeTable by_tokens;

    friend bool operator==(const AttentionTimes&, const AttentionTimes&) = default;
};

using OpTables = std::map<std::string, TimeTable, std::less<>>;

/// Everything that depends on the dtype of rows and weights. Ops that only move memory, by their name in
/// plan::kOpNames, against the bytes they read and write (op_times.hpp: moved_bytes).
struct DTypeTimes {
    DType dtype = DType::f32;
    std::vector<GemmTimes> gemms;
    std::vector<GateTimes> gates;
    std::vector<AttentionTimes> attentions;
    OpTables compute_ops;   // on the compute lane
    OpTables exchange_ops;  // on exchange lanes (on the CPU: one thread)

    friend bool operator==(const DTypeTimes&, const DTypeTimes&) = default;
};

/// An exchange in which each rank sends (and receives) so many messages to others, against the bytes of all
/// that it sends.
struct ExchangeTimes {
    std::string transport;
    std::int64_t num_messages = 1;
    TimeTable by_bytes;         // with nothing beside it
    TimeTable beside_by_bytes;  // while the compute lane is busy with GEMMs; the same sizes

    friend bool operator==(const ExchangeTimes&, const ExchangeTimes&) = default;
};

/// Ranks [i * ranks_per_host, (i + 1) * ranks_per_host) share a host; messages between hosts go over `wire`,
/// of which each rank has one.
struct Network {
    std::int64_t ranks_per_host = 1;
    Link wire;

    friend bool operator==(const Network&, const Network&) = default;
};

struct Calibration {
    std::string about;  // where the figures come from, for people
    Measured measured;

    // A pass beside the work of its ops.
    double op_overhead_s = 0;     // from one op of a lane to its next
    double lane_hop_s = 0;        // more where an op waits for one of another lane
    double chunk_overhead_s = 0;  // k of kN + b: an experts segment with one chunk more (paper, section 5.2)
    double segment_overhead_s = 0;  // b of kN + b

    std::vector<ExchangeTimes> exchanges;  // per transport by ascending num_messages
    TimeTable copy;                        // a message to oneself, against its bytes
    std::optional<Network> network;        // between hosts, where `exchanges` is inside one; only modelled
    // Beside a GEMM: how many times as long an exchange lane's own work (packing, copies) takes, and what the
    // GEMM loses meanwhile, in seconds per second of that work or of an exchange when alone.
    double exchange_slowdown = 1;
    double gemm_loss = 0;

    std::vector<DTypeTimes> dtypes;

    /// nullptr where nothing was measured in that dtype.
    const DTypeTimes* find(DType dtype) const;

    friend bool operator==(const Calibration&, const Calibration&) = default;
};

/// Indented JSON text with a newline at the end. `hash` in it is that of everything else.
std::string to_json(const Calibration& calibration);

/// Strict: unknown and missing keys, wrong types, tables that do not ascend and a hash that does not match
/// (null: written by hand) are Error(usage) that names `where` and the JSON pointer.
Calibration read_calibration(const std::string& text, const std::string& where);

/// The `hash` of to_json: 16 hexadecimal digits.
std::string hash_of(const Calibration& calibration);

/// Adds the tables of `more` by dtype; where `into` has one for the same shape or op it is replaced.
void merge_tables(Calibration& into, const Calibration& more);

}  // namespace eps::cost
