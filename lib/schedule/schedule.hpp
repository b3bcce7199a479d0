// Order, pieces and lanes of the work, as data (design section 4): what a strategy adds to a placement.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace eps::schedule {

/// What a pass covers: embedding to last-position logits, the decoder layers, or the MoE half of the first
/// MoE layer.
enum class Scope : std::uint8_t { model, layer, moe };

enum class ChunkBy : std::uint8_t { none, expert };
enum class GemmChoice : std::uint8_t { automatic, group, dense };
/// How exchanges travel where there is a choice (GPUs).
enum class Transport : std::uint8_t { automatic, nccl, copy_engine };
/// As in configs, reports and calibrations; empty: automatic.
constexpr const char* name_of(Transport transport) {
    return transport == Transport::nccl ? "nccl" : transport == Transport::copy_engine ? "copy_engine" : "";
}
enum class Combine : std::uint8_t { per_token, per_chunk };

/// `chunks` empty means "auto".
struct Schedule {
    ChunkBy chunk_by = ChunkBy::none;
    std::optional<std::int64_t> chunks = 1;  // pieces of the expert work (chunk_by expert)
    std::int64_t micro_batches = 1;          // pieces of the batch that follow one another through pp stages
    bool overlap = false;  // exchange lanes beside the compute lane; otherwise each op of an experts segment
                           // waits for the one before it
    GemmChoice gemm = GemmChoice::automatic;
    Combine combine = Combine::per_token;
    bool dedup = true;    // a token travels to a rank once; otherwise once per expert there
    bool oracle = false;  // counts known ahead of the pass: no exchange of counts, no wait
    Transport transport = Transport::automatic;
    std::int64_t comm_ctas = 0;  // thread blocks that an exchange may take; 0: the library's choice
    std::int64_t gemm_sms = 0;   // multiprocessors that GEMMs may take; 0: all
    friend bool operator==(const Schedule&, const Schedule&) = default;
};

}  // namespace eps::schedule
