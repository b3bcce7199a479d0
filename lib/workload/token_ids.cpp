#include "base/error.hpp"
#include "base/random.hpp"
#include "workload/batch.hpp"
#include "workload/integer_matrix.hpp"

#include <fmt/core.h>

namespace eps::workload {
namespace {

class RandomTokenIds : public TokenIds {
  public:
    RandomTokenIds(std::int64_t vocab_size, std::uint64_t seed)
        : vocab_size_(static_cast<std::uint64_t>(vocab_size)), key_(stream_key(seed, "tokens")) {}

    void write(Range tokens, std::span<std::int32_t> out) const override {
        for (std::int64_t token = tokens.begin; token < tokens.end; ++token)
            out[static_cast<std::size_t>(token - tokens.begin)] =
                static_cast<std::int32_t>(random_bits(key_, static_cast<std::uint64_t>(token)) % vocab_size_);
    }

  private:
    std::uint64_t vocab_size_, key_;
};

class StoredTokenIds : public TokenIds {
  public:
    StoredTokenIds(const std::string& path, const Batch& batch, std::int64_t vocab_size)
        : file_(path),
          ids_(file_, kTensor, batch.num_sequences(), batch.longest()),
          batch_(batch),
          vocab_size_(vocab_size) {}

    void write(Range tokens, std::span<std::int32_t> out) const override {
        for (std::int64_t token = tokens.begin; token < tokens.end; ++token)
            out[static_cast<std::size_t>(token - tokens.begin)] = id_of(token);
    }

  private:
    static constexpr const char* kTensor = "input_ids";

    std::int32_t id_of(std::int64_t token) const {
        const std::int64_t sequence = batch_.sequence_of(token);
        const std::int64_t position = token - batch_.tokens_of(sequence).begin;
        const std::int64_t id = ids_.at(sequence, position);
        if (id < 0 || id >= vocab_size_)
            throw Error(Exit::data,
                        fmt::format("{}: {}[{}, {}] is {}, expected 0 to {}, the model's vocabulary",
                                    file_.path(), kTensor, sequence, position, id, vocab_size_ - 1));
        return static_cast<std::int32_t>(id);
    }

    checkpoint::Safetensors file_;
    IntegerMatrix ids_;
    const Batch& batch_;
    std::int64_t vocab_size_;
};

}  // namespace

std::unique_ptr<TokenIds> make_token_ids(const std::string& source, const Batch& batch,
                                         std::int64_t vocab_size, std::uint64_t seed) {
    if (source == "random") return std::make_unique<RandomTokenIds>(vocab_size, seed);
    return std::make_unique<StoredTokenIds>(source, batch, vocab_size);
}

}  // namespace eps::workload
