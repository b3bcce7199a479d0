#include "comm/collectives.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace eps::comm {
namespace {

std::span<const std::byte> bytes_of(std::string_view text) {
    return std::as_bytes(std::span(text.data(), text.size()));
}

std::string text_of(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

Message sent(std::int64_t peer, std::span<const std::byte> data) {
    // A message that is sent is only read.
    return {peer, const_cast<std::byte*>(data.data()), static_cast<std::int64_t>(data.size())};
}

Message received(std::int64_t peer, Bytes& data) {
    return {peer, data.data(), static_cast<std::int64_t>(data.size())};
}

template <typename T>
std::vector<T> all_gather(Communicator& communicator, T value) {
    const Bytes all = all_gather_bytes(communicator, std::as_bytes(std::span(&value, 1)));
    std::vector<T> values(static_cast<std::size_t>(communicator.size()));
    std::memcpy(values.data(), all.data(), all.size());
    return values;
}

}  // namespace

Bytes all_gather_bytes(Communicator& communicator, std::span<const std::byte> in) {
    const auto bytes = static_cast<std::int64_t>(in.size());
    Bytes all(in.size() * static_cast<std::size_t>(communicator.size()));
    std::vector<Message> sends;
    std::vector<Message> receives;
    for (std::int64_t peer = 0; peer < communicator.size(); ++peer) {
        sends.push_back(sent(peer, in));
        receives.push_back({peer, all.data() + peer * bytes, bytes});
    }
    communicator.exchange(sends, receives);
    return all;
}

std::vector<Bytes> gather_bytes(Communicator& communicator, std::int64_t root,
                                std::span<const std::byte> in) {
    const std::vector<std::int64_t> sizes = all_gather(communicator, static_cast<std::int64_t>(in.size()));
    std::vector<Bytes> gathered;
    std::vector<Message> receives;
    if (communicator.rank() == root) {
        gathered.resize(sizes.size());
        for (std::size_t peer = 0; peer < sizes.size(); ++peer) {
            gathered[peer].resize(static_cast<std::size_t>(sizes[peer]));
            receives.push_back(received(static_cast<std::int64_t>(peer), gathered[peer]));
        }
    }
    communicator.exchange(std::vector{sent(root, in)}, receives);
    return gathered;
}

std::vector<std::string> all_gather_strings(Communicator& communicator, std::string_view in) {
    const std::vector<std::int64_t> sizes = all_gather(communicator, static_cast<std::int64_t>(in.size()));
    std::vector<Bytes> gathered(sizes.size());
    std::vector<Message> sends;
    std::vector<Message> receives;
    for (std::size_t i = 0; i < sizes.size(); ++i) {
        const auto peer = static_cast<std::int64_t>(i);
        gathered[i].resize(static_cast<std::size_t>(sizes[i]));
        sends.push_back(sent(peer, bytes_of(in)));
        receives.push_back(received(peer, gathered[i]));
    }
    communicator.exchange(sends, receives);
    std::vector<std::string> texts;
    for (const Bytes& bytes : gathered) texts.push_back(text_of(bytes));
    return texts;
}

Bytes broadcast_bytes(Communicator& communicator, std::int64_t root, std::span<const std::byte> in) {
    const std::vector<std::int64_t> sizes = all_gather(communicator, static_cast<std::int64_t>(in.size()));
    Bytes out(static_cast<std::size_t>(sizes[static_cast<std::size_t>(root)]));
    std::vector<Message> sends;
    if (communicator.rank() == root) {
        for (std::int64_t peer = 0; peer < communicator.size(); ++peer) sends.push_back(sent(peer, in));
    }
    communicator.exchange(sends, std::vector{received(root, out)});
    return out;
}

std::string broadcast_string(Communicator& communicator, std::int64_t root, std::string_view in) {
    return text_of(broadcast_bytes(communicator, root, bytes_of(in)));
}

double max_over_ranks(Communicator& communicator, double value) {
    const std::vector<double> values = all_gather(communicator, value);
    if (std::ranges::any_of(values, [](double v) { return std::isnan(v); })) {
        return std::numeric_limits<double>::quiet_NaN();
    }
    return *std::ranges::max_element(values);
}

std::int64_t max_over_ranks(Communicator& communicator, std::int64_t value) {
    const std::vector<std::int64_t> values = all_gather(communicator, value);
    return *std::ranges::max_element(values);
}

bool all_equal(Communicator& communicator, std::span<const std::byte> in) {
    const Bytes first = broadcast_bytes(communicator, 0, in);
    const bool same = std::ranges::equal(first, in);
    return max_over_ranks(communicator, std::int64_t{same ? 0 : 1}) == 0;
}

}  // namespace eps::comm
