#include "app/output_hash.hpp"

#include "base/random.hpp"

#include <cstring>
#include <memory>

namespace eps {

namespace {

// Outputs are hundreds of megabytes: both loops are such that they become vector instructions.

// `exponent`: the bits that are all set in what is not finite.
template <typename Bits>
bool all_finite(const std::byte* values, std::int64_t count, Bits exponent) {
    unsigned found = 0;
    for (std::int64_t i = 0; i < count; ++i) {
        Bits bits;
        std::memcpy(&bits, values + i * std::int64_t{sizeof bits}, sizeof bits);
        found |= static_cast<unsigned>((bits & exponent) == exponent);
    }
    return found == 0;
}

// The sum of all words, each mixed with its place.
std::uint64_t hash_of_bytes(const std::byte* bytes, std::int64_t count) {
    std::uint64_t hash = 0, word = 0;
    const std::int64_t num_words = count / 8;
    for (std::int64_t i = 0; i < num_words; ++i) {
        std::memcpy(&word, bytes + 8 * i, 8);
        hash += random_bits(word, static_cast<std::uint64_t>(i));
    }
    word = 0;
    std::memcpy(&word, bytes + 8 * num_words, static_cast<std::size_t>(count % 8));
    return hash + random_bits(word, static_cast<std::uint64_t>(num_words));
}

}  // namespace

OutputHash hash_outputs(const LiveCase& live, backend::Executor& executor) {
    const schedule::Tables& tables = live.runner->tables();
    OutputHash out;
    if (tables.position.stage != tables.setup.placement.pp - 1) return out;
    const DType dtype = tables.setup.dtype;
    for (const auto& batch : tables.micro_batches) {
        const bool logits = tables.setup.scope == schedule::Scope::model;
        const plan::Slice slice = logits ? plan::Slice{batch.logits, {0, batch.num_sequences()}}
                                         : plan::Slice{batch.hidden, batch.owned};
        const std::int64_t cols = live.runner->plan().buffers[static_cast<std::size_t>(slice.buffer)].cols;
        const std::int64_t num_values = slice.rows.size() * cols, num_bytes = num_values * bytes_of(dtype);
        const auto bytes = std::make_unique_for_overwrite<std::byte[]>(static_cast<std::size_t>(num_bytes));
        executor.read(slice, {bytes.get(), dtype, slice.rows.size(), cols, cols});
        out.num_values += num_values;
        out.finite = out.finite &&
                     (dtype == DType::bf16 ? all_finite<std::uint16_t>(bytes.get(), num_values, 0x7f80)
                                           : all_finite<std::uint32_t>(bytes.get(), num_values, 0x7f800000));
        out.hash = mix_bits(out.hash ^ hash_of_bytes(bytes.get(), num_bytes));
    }
    return out;
}

}  // namespace eps
