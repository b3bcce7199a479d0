// How ranks talk: one verb, an exchange of messages, from which every collective is made.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace eps::comm {

/// One message to or from `peer` (rank inside the communicator). A message to oneself is a local copy.
struct Message {
    std::int64_t peer = 0;
    std::byte* data = nullptr;
    std::int64_t bytes = 0;
};

/// A group of ranks with its own message space. One thread at a time uses a communicator; several
/// communicators may be used by several threads at once. Waiting never burns a core that others need
/// (back-off to sleep).
class Communicator {
  public:
    virtual ~Communicator() = default;
    virtual std::int64_t rank() const = 0;
    virtual std::int64_t size() const = 0;

    /// Sends and receives all messages and returns when all are complete. Messages between a pair of ranks
    /// match in order; zero-byte messages are not sent. Any size (over 2 GiB too). Every byte count must be
    /// the same at both ends.
    virtual void exchange(std::span<const Message> sends, std::span<const Message> receives) = 0;

    virtual void barrier() = 0;

    /// A new communicator over the same ranks with a message space of its own. Collective.
    virtual std::unique_ptr<Communicator> duplicate() = 0;

    /// A new communicator of the ranks that give the same `color`, ordered by `key`. Collective.
    virtual std::unique_ptr<Communicator> split(std::int64_t color, std::int64_t key) = 0;

    /// Ends every rank of the run with this exit status, at once. Never returns.
    [[noreturn]] virtual void abort(int status) = 0;
};

}  // namespace eps::comm
