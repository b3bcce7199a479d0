// Causal MLA attention on device memory: cuDNN's fused kernel, and the plain kernel where cuDNN has none.
#pragma once

#include "kernels/cuda/kernels.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace eps::kernels::device {

/// For one head geometry and dtype on the current device. Work of one object goes to one stream at a time.
/// cuDNN takes bf16 rows whose head dimensions are multiples of 8 up to 256; everything else goes to the
/// plain kernel, which also serves where the installed cuDNN refuses (describe() says so).
class Attention {
  public:
    Attention(const AttentionArgs& args, DType dtype);
    ~Attention();
    Attention(const Attention&) = delete;
    Attention& operator=(const Attention&) = delete;

    /// Builds and keeps the plan for sequences of these lengths (up to a second: before timed passes) and
    /// gives the bytes of scratch that run() needs. `starts`: from 0, ascending, the end of the last one
    /// included.
    std::int64_t prepare(std::span<const std::int64_t> starts);

    /// Rows as the twin has them (kernels.hpp), without gaps but for k_rope's. `starts` lie on the host;
    /// `scratch` is device memory of prepare()'s bytes, aligned to 256, free again when the stream gets
    /// there.
    void run(Stream stream, Rows q, Rows kv, Rows k_rope, std::span<const std::int64_t> starts, Rows out,
             std::byte* scratch);

    /// For reports: "cuDNN 9.14.0", or why not.
    std::string describe() const;

  private:
    struct Plans;

    AttentionArgs args_;
    DType dtype_;
    std::unique_ptr<Plans> plans_;  // null: the plain kernel alone
};

/// keys [T, heads * (nope + rope)]: per head kv's nope part and the rope part that all heads share.
void assemble_keys(Stream stream, Rows kv, Rows k_rope, const AttentionArgs& args, Rows keys);

/// What cuDNN reads about sequences of different lengths: rows of each, and elements before each in keys and
/// queries, in kv, in the output. [num_sequences] and [num_sequences + 1] three times.
struct SequenceLists {
    std::int32_t* lengths = nullptr;
    std::int64_t* query_offsets = nullptr;
    std::int64_t* kv_offsets = nullptr;
    std::int64_t* out_offsets = nullptr;
};

/// Bytes of the lists; and the lists inside such bytes.
std::int64_t sequence_lists_bytes(std::int64_t num_sequences);
SequenceLists place_sequence_lists(std::byte* bytes, std::int64_t num_sequences);

/// Fills them on the stream; `starts` travel as arguments of the launch. Strides: elements between rows.
void write_sequence_lists(Stream stream, std::span<const std::int64_t> starts, std::int64_t query_stride,
                          std::int64_t kv_stride, std::int64_t out_stride, const SequenceLists& lists);

}  // namespace eps::kernels::device
