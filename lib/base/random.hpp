// Counter-based random numbers: every value is a pure function of (key, index), so any rank, and any device,
// makes exactly its own share. Integer arithmetic up to one exact float product: the same bits everywhere.
#pragma once

#include <cstdint>
#include <string_view>

namespace eps {

/// A bijective 64-bit mix (the finaliser of splitmix64).
constexpr std::uint64_t mix_bits(std::uint64_t x) {
    x += 0x9e3779b97f4a7c15U;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
    return x ^ (x >> 31);
}

/// The key of a stream of numbers, from the run's seed and a name ("model.layers.3.mlp.gate.weight", "input",
/// ...).
constexpr std::uint64_t stream_key(std::uint64_t seed, std::string_view name) {
    std::uint64_t h = mix_bits(seed);
    for (const char c : name) h = mix_bits(h ^ static_cast<unsigned char>(c));
    return h;
}

constexpr std::uint64_t random_bits(std::uint64_t key, std::uint64_t index) {
    return mix_bits(key ^ (index * 0xd1342543de82ef95U + 0x632be59bd9b4e019U));
}

/// Uniform in [0, 1), 53 bits.
constexpr double random_uniform(std::uint64_t key, std::uint64_t index) {
    return static_cast<double>(random_bits(key, index) >> 11) * 0x1p-53;
}

/// About normal, mean 0 and variance 1: the sum of eight 16-bit uniforms, centred (Irwin-Hall; |value|
/// < 4.9).
constexpr float random_normal(std::uint64_t key, std::uint64_t index) {
    const std::uint64_t a = random_bits(key, 2 * index);
    const std::uint64_t b = random_bits(key, 2 * index + 1);
    constexpr std::uint64_t kEven = 0x0000ffff0000ffffU;
    const std::uint64_t pairs = (a & kEven) + ((a >> 16) & kEven) + (b & kEven) + ((b >> 16) & kEven);
    const auto sum = static_cast<std::int32_t>((pairs & 0xffffffffU) + (pairs >> 32));
    // variance of one uniform on 0..65535 is (2^32 - 1) / 12; eight of them: standard deviation 53509.56...
    return static_cast<float>(sum - 262140) * 1.86881237e-05F;
}

}  // namespace eps
