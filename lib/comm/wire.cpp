#include "comm/wire.hpp"

#include "comm/collectives.hpp"
#include "comm/progress.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

namespace eps::comm {
namespace {

/// Goes ahead of every message, so that the other end knows what the sender's wire did.
struct Departure {
    std::int64_t left_ns = 0;    // of the sender's clock
    std::int64_t queued_ns = 0;  // of these, waited for the way out
};

/// To the moment itself: the kernel may otherwise add 50 us to put wake-ups together.
void sleep_until(std::int64_t time_ns) {
    thread_local const bool exact = prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL) == 0;
    static_cast<void>(exact);
    constexpr std::int64_t kSecondNs = 1'000'000'000;
    const timespec until = {time_ns / kSecondNs, time_ns % kSecondNs};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr) == EINTR) {
    }
}

class WiredCommunicator final : public Communicator {
  public:
    WiredCommunicator(std::unique_ptr<Communicator> inner, Wire& wire)
        : inner_(std::move(inner)), wire_(wire) {
        const std::uint64_t mine = wire.clock();
        const Bytes all = all_gather_bytes(*inner_, std::as_bytes(std::span(&mine, 1)));
        std::vector<std::uint64_t> clocks(all.size() / sizeof mine);
        std::memcpy(clocks.data(), all.data(), all.size());
        for (const std::uint64_t clock : clocks) same_clock_.push_back(clock == mine);
    }

    std::int64_t rank() const override { return inner_->rank(); }
    std::int64_t size() const override { return inner_->size(); }
    void barrier() override { inner_->barrier(); }
    std::unique_ptr<Communicator> duplicate() override { return over_wire(inner_->duplicate(), wire_); }
    std::unique_ptr<Communicator> split(std::int64_t color, std::int64_t key) override {
        return over_wire(inner_->split(color, key), wire_);
    }
    [[noreturn]] void abort(int status) override {
        inner_->abort(status);
        std::abort();
    }

    void exchange(std::span<const Message> sends, std::span<const Message> receives) override {
        if (!wire_.link()) {
            inner_->exchange(sends, receives);
            return;
        }
        add_departures(sends, out_, departing_);
        add_departures(receives, in_, arriving_);
        const std::int64_t sent_ns = leave(sends);
        inner_->exchange(out_, in_);
        sleep_until(std::max(sent_ns, arrive(receives)));
    }

  private:
    bool travels(const Message& message) const { return message.bytes > 0 && message.peer != inner_->rank(); }

    // The messages, and before each one that travels its departure.
    void add_departures(std::span<const Message> messages, std::vector<Message>& all,
                        std::vector<Departure>& departures) const {
        departures.assign(messages.size(), {});
        all.clear();
        for (std::size_t i = 0; i < messages.size(); ++i) {
            if (travels(messages[i]))
                all.push_back({messages[i].peer, reinterpret_cast<std::byte*>(&departures[i]),
                               static_cast<std::int64_t>(sizeof(Departure))});
            all.push_back(messages[i]);
        }
    }

    // Notes when each message leaves; returns when the last one has left.
    std::int64_t leave(std::span<const Message> sends) {
        const std::int64_t now_ns = steady_now_ns();
        const auto turn = [&](std::size_t i) {
            return (sends[i].peer - inner_->rank() + inner_->size()) % inner_->size();
        };
        sort_travelling(sends, turn);
        std::int64_t last_ns = now_ns;
        for (const std::size_t i : order_) {
            const std::int64_t left_ns = wire_.leave(now_ns, sends[i].bytes);
            departing_[i] = {left_ns, left_ns - now_ns};
            last_ns = std::max(last_ns, left_ns + wire_.link()->duration_ns(sends[i].bytes));
        }
        return last_ns;
    }

    // Returns when the last message has arrived.
    std::int64_t arrive(std::span<const Message> receives) {
        const std::int64_t now_ns = steady_now_ns();
        const auto left_ns = [&](std::size_t i) {
            return same_clock_[static_cast<std::size_t>(receives[i].peer)] ? arriving_[i].left_ns
                                                                           : now_ns + arriving_[i].queued_ns;
        };
        sort_travelling(receives, left_ns);
        std::int64_t last_ns = now_ns;
        for (const std::size_t i : order_)
            last_ns = std::max(last_ns, wire_.arrive(left_ns(i), receives[i].bytes));
        return last_ns;
    }

    template <typename Key>
    void sort_travelling(std::span<const Message> messages, Key key) {
        order_.clear();
        for (std::size_t i = 0; i < messages.size(); ++i)
            if (travels(messages[i])) order_.push_back(i);
        std::ranges::stable_sort(order_, {}, key);
    }

    std::unique_ptr<Communicator> inner_;
    Wire& wire_;
    std::vector<bool> same_clock_;  // per peer
    // Of the exchange under way; kept, so that nothing is allocated once warm.
    std::vector<Message> out_, in_;
    std::vector<Departure> departing_, arriving_;
    std::vector<std::size_t> order_;
};

}  // namespace

std::uint64_t this_clock() {
    // A boot of a host; containers of it share its clock unless they have a time namespace of their own.
    std::string text;
    std::getline(std::ifstream("/proc/sys/kernel/random/boot_id"), text);
    if (text.empty()) text = "process " + std::to_string(getpid());
    std::array<char, 64> space = {};
    if (readlink("/proc/self/ns/time", space.data(), space.size() - 1) > 0) text += space.data();
    return std::hash<std::string>()(text);
}

void Wire::use(const std::optional<Link>& link) {
    const std::lock_guard lock(mutex_);
    if (link == link_) return;
    link_ = link;
    out_.clear();
    in_.clear();
}

std::int64_t Wire::leave(std::int64_t now_ns, std::int64_t bytes) {
    const std::lock_guard lock(mutex_);
    return out_.reserve(now_ns, link_->duration_ns(bytes));
}

std::int64_t Wire::arrive(std::int64_t left_ns, std::int64_t bytes) {
    const std::int64_t duration_ns = link_->duration_ns(bytes);
    const std::lock_guard lock(mutex_);
    return in_.reserve(left_ns + link_->latency_ns(), duration_ns) + duration_ns;
}

std::unique_ptr<Communicator> over_wire(std::unique_ptr<Communicator> inner, Wire& wire) {
    return std::make_unique<WiredCommunicator>(std::move(inner), wire);
}

bool share_clock(Communicator& communicator) {
    const std::uint64_t mine = this_clock();
    return all_equal(communicator, std::as_bytes(std::span(&mine, 1)));
}

}  // namespace eps::comm
