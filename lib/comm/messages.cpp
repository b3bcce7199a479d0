#include "comm/messages.hpp"

#include "base/error.hpp"

#include <cstring>

#include <fmt/core.h>

namespace eps::comm {
namespace {

/// The next message of non-zero size to or from `rank`, from position `i` on; `messages.size()` when there is
/// none.
std::size_t next_own(std::span<const Message> messages, std::int64_t rank, std::size_t i) {
    while (i < messages.size() && (messages[i].peer != rank || messages[i].bytes == 0)) ++i;
    return i;
}

}  // namespace

void check_messages(std::span<const Message> messages, std::int64_t size) {
    for (const Message& message : messages) {
        if (message.peer < 0 || message.peer >= size) {
            throw Error(Exit::internal, fmt::format("a message names rank {} in a communicator of {} ranks",
                                                    message.peer, size));
        }
        if (message.bytes < 0 || (message.bytes > 0 && message.data == nullptr)) {
            throw Error(Exit::internal, fmt::format("a message of {} bytes with rank {} has no memory",
                                                    message.bytes, message.peer));
        }
    }
}

void pair_own_messages(std::int64_t rank, std::span<const Message> sends, std::span<const Message> receives,
                       const std::function<void(const Message& from, const Message& to)>& copy) {
    std::size_t s = next_own(sends, rank, 0);
    std::size_t r = next_own(receives, rank, 0);
    for (; s < sends.size() && r < receives.size();
         s = next_own(sends, rank, s + 1), r = next_own(receives, rank, r + 1)) {
        if (sends[s].bytes != receives[r].bytes) {
            throw Error(Exit::internal, fmt::format("rank {} sends {} bytes to rank {}, which expects {}",
                                                    rank, sends[s].bytes, rank, receives[r].bytes));
        }
        copy(sends[s], receives[r]);
    }
    if (s < sends.size() || r < receives.size()) {
        throw Error(Exit::internal, fmt::format("rank {} {} a message to itself that it does not {}", rank,
                                                s < sends.size() ? "sends" : "expects",
                                                s < sends.size() ? "receive" : "send"));
    }
}

void copy_own_messages(std::int64_t rank, std::span<const Message> sends, std::span<const Message> receives) {
    pair_own_messages(rank, sends, receives, [](const Message& from, const Message& to) {
        std::memmove(to.data, from.data, static_cast<std::size_t>(from.bytes));
    });
}

}  // namespace eps::comm
