// The prompts of a run: sequences of the whole world's batch, concatenated without padding, and what they
// start with. Tokens have global numbers, in batch order; everything random is a pure function of (seed,
// global token).
#pragma once

#include "base/range.hpp"
#include "base/rows.hpp"

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace eps::workload {

struct Batch {
    std::vector<std::int64_t> lengths;  // one per sequence, each >= 1
    std::vector<std::int64_t> starts;   // lengths.size() + 1 global token numbers

    explicit Batch(std::vector<std::int64_t> sequence_lengths);
    std::int64_t num_sequences() const { return static_cast<std::int64_t>(lengths.size()); }
    std::int64_t num_tokens() const { return starts.back(); }
    std::int64_t longest() const;
    /// The sequence that holds a global token.
    std::int64_t sequence_of(std::int64_t token) const;
    Range tokens_of(std::int64_t sequence) const;
};

/// Positions inside their sequences of the global tokens `tokens`: out[token - tokens.begin].
void write_positions(const Batch& batch, Range tokens, std::span<std::int32_t> out);

/// Where token ids come from.
class TokenIds {
  public:
    virtual ~TokenIds() = default;
    /// Ids, each in [0, vocab_size), of the global tokens `tokens`: out[token - tokens.begin].
    virtual void write(Range tokens, std::span<std::int32_t> out) const = 0;
};

/// `source` is "random" or a safetensors file with the tensor input_ids [batch, longest] int64, of which the
/// first `length` of a row count. The batch must outlive the result. Throws Error(data), from here or from
/// write(), naming the file and what was found.
std::unique_ptr<TokenIds> make_token_ids(const std::string& source, const Batch& batch,
                                         std::int64_t vocab_size, std::uint64_t seed);

/// Input rows of the scopes `layer` and `moe`: about normal values from (seed, global token, column), rounded
/// to out's dtype (f32 or bf16). `out` is tokens.size() x hidden.
void write_input_rows(std::uint64_t seed, Range tokens, Rows out);

}  // namespace eps::workload
