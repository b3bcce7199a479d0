#include "comm/mailboxes.hpp"

#include "base/error.hpp"
#include "comm/collectives.hpp"

#include <cerrno>
#include <cstring>
#include <new>
#include <random>
#include <string>

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/mman.h>
#include <unistd.h>

namespace eps::comm {
namespace {

/// How rank 0's memory is found by the others, and told from somebody else's.
struct Address {
    std::uint64_t token = 0;  // first word of the memory
    std::int32_t process = 0;
    std::int32_t file = -1;  // -1: there is none
};

struct File {
    int descriptor = -1;
    ~File() {
        if (descriptor >= 0) close(descriptor);
    }
};

std::uint64_t random_token() {
    std::random_device random;
    return std::uint64_t{random()} << 32 | random();
}

/// Maps `bytes` of the file; null where that fails.
void* map_shared(int file, std::size_t bytes) {
    void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    return memory == MAP_FAILED ? nullptr : memory;
}

}  // namespace

static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

Mailboxes::Mailboxes(Communicator& group) : rank_(group.rank()), size_(group.size()) {
    constexpr std::size_t kHead = alignof(Queue);  // holds the token
    bytes_ = kHead + static_cast<std::size_t>(size_ * size_) * sizeof(Queue);

    File file;
    Address address;
    if (rank_ == 0) {
        file.descriptor = memfd_create("eps-bench mailboxes", MFD_CLOEXEC);
        if (file.descriptor >= 0 && ftruncate(file.descriptor, static_cast<off_t>(bytes_)) == 0)
            memory_ = map_shared(file.descriptor, bytes_);
        if (memory_ != nullptr) {
            address = {random_token(), getpid(), file.descriptor};
            std::memcpy(memory_, &address.token, sizeof address.token);
            auto* queues = reinterpret_cast<Queue*>(static_cast<std::byte*>(memory_) + kHead);
            for (std::int64_t i = 0; i < size_ * size_; ++i) new (queues + i) Queue();
        }
    }
    const int error = errno;
    const Bytes told = broadcast_bytes(group, 0, std::as_bytes(std::span(&address, 1)));
    std::memcpy(&address, told.data(), sizeof address);
    if (address.file < 0)
        throw Error(Exit::resource, fmt::format("no shared memory of {} bytes for {} ranks{}", bytes_, size_,
                                                rank_ == 0 ? std::string(": ") + std::strerror(error) : ""));

    if (rank_ != 0) {
        file.descriptor =
            open(fmt::format("/proc/{}/fd/{}", address.process, address.file).c_str(), O_RDWR | O_CLOEXEC);
        if (file.descriptor >= 0 && lseek(file.descriptor, 0, SEEK_END) == static_cast<off_t>(bytes_))
            memory_ = map_shared(file.descriptor, bytes_);
        if (memory_ != nullptr && std::memcmp(memory_, &address.token, sizeof address.token) != 0) {
            munmap(memory_, bytes_);
            memory_ = nullptr;
        }
    }
    // Also keeps rank 0's file open until everybody has it.
    const std::int64_t first_without = -max_over_ranks(group, memory_ == nullptr ? -rank_ : -size_);
    if (first_without < size_) {
        if (memory_ != nullptr) munmap(memory_, bytes_);
        throw Error(Exit::communication,
                    fmt::format("rank {} of {} cannot map the memory of rank 0: these ranks have to run on "
                                "one host, as one user, and see each other's processes",
                                first_without, size_));
    }
    queues_ = reinterpret_cast<Queue*>(static_cast<std::byte*>(memory_) + kHead);
}

Mailboxes::~Mailboxes() {
    munmap(memory_, bytes_);
}

bool Mailboxes::post(std::int64_t to, const Landing& landing) {
    Queue& box = queue(rank_, to);
    const std::uint64_t number = box.posted.load(std::memory_order_relaxed);
    if (number - box.taken.load(std::memory_order_acquire) == kRoom) return false;
    box.landings[number % kRoom] = landing;
    box.posted.store(number + 1, std::memory_order_release);
    return true;
}

std::optional<Landing> Mailboxes::take(std::int64_t from) {
    Queue& box = queue(from, rank_);
    const std::uint64_t number = box.taken.load(std::memory_order_relaxed);
    if (box.posted.load(std::memory_order_acquire) == number) return std::nullopt;
    const Landing landing = box.landings[number % kRoom];
    box.taken.store(number + 1, std::memory_order_release);
    return landing;
}

}  // namespace eps::comm
