#include "comm/loopback.hpp"

#include "base/error.hpp"
#include "comm/messages.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <exception>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include <fmt/core.h>

namespace eps::comm {
namespace {

/// What all communicators of a run share: whether, and why, the run has ended.
class Run {
  public:
    explicit Run(double time_limit_s) : time_limit_s_(time_limit_s) {}

    double time_limit_s() const { return time_limit_s_; }
    bool ended() const { return ended_.load(std::memory_order_acquire); }

    /// Ends the run for all ranks; the first reason stays.
    void end(Exit status, const std::string& reason) {
        const std::lock_guard lock(mutex_);
        if (ended()) return;
        status_ = status;
        reason_ = reason;
        ended_.store(true, std::memory_order_release);
    }

    [[noreturn]] void throw_reason() const { throw Error(status_, reason_); }

  private:
    double time_limit_s_;
    std::mutex mutex_;
    std::atomic<bool> ended_ = false;
    Exit status_ = Exit::internal;
    std::string reason_;
};

struct Posted {
    const std::byte* data = nullptr;
    std::int64_t bytes = 0;
    bool received = false;
};

struct Group;

/// One collective split: what each rank asked for and what it gets.
struct SplitRound {
    explicit SplitRound(std::int64_t size) : asked(static_cast<std::size_t>(size)), given(asked.size()) {}
    std::vector<std::pair<std::int64_t, std::int64_t>> asked;            // color, key
    std::vector<std::pair<std::shared_ptr<Group>, std::int64_t>> given;  // group, rank in it
};

/// The shared side of one communicator.
struct Group {
    Group(std::shared_ptr<Run> of, std::int64_t num_ranks)
        : run(std::move(of)),
          size(num_ranks),
          boxes(static_cast<std::size_t>(num_ranks * num_ranks)),
          split_round(std::make_shared<SplitRound>(num_ranks)) {}

    std::deque<Posted*>& box(std::int64_t from, std::int64_t to) {
        return boxes[static_cast<std::size_t>(to * size + from)];
    }

    /// Waits under the group's lock until `ready()`; throws when the run ends first or `waiting_for` takes
    /// too long.
    template <typename Ready, typename WaitingFor>
    void wait(std::unique_lock<std::mutex>& lock, Ready ready, WaitingFor waiting_for) {
        const auto begin = std::chrono::steady_clock::now();
        for (;;) {
            if (run->ended()) run->throw_reason();
            if (ready()) return;
            changed.wait_for(lock, std::chrono::milliseconds(20));
            const std::chrono::duration<double> waited = std::chrono::steady_clock::now() - begin;
            if (waited.count() > run->time_limit_s()) {
                run->end(Exit::communication, fmt::format("{} for {:.1f} s", waiting_for(), waited.count()));
            }
        }
    }

    const std::shared_ptr<Run> run;
    const std::int64_t size;
    std::mutex mutex;
    std::condition_variable changed;
    std::vector<std::deque<Posted*>> boxes;  // [to][from]
    std::int64_t arrived = 0;                // of the current barrier
    std::int64_t generation = 0;             // barriers left behind
    std::shared_ptr<SplitRound> split_round;
};

/// Throws when two threads use one communicator at a time. Relaxed, so that it orders nothing.
class SoleUser {
  public:
    SoleUser(std::atomic<bool>& in_use, std::int64_t rank) : in_use_(in_use) {
        if (in_use_.exchange(true, std::memory_order_relaxed)) {
            throw Error(Exit::internal,
                        fmt::format("two threads of rank {} use one communicator at a time", rank));
        }
    }
    ~SoleUser() { in_use_.store(false, std::memory_order_relaxed); }
    SoleUser(const SoleUser&) = delete;
    SoleUser& operator=(const SoleUser&) = delete;

  private:
    std::atomic<bool>& in_use_;
};

class LoopbackCommunicator final : public Communicator {
  public:
    LoopbackCommunicator(std::shared_ptr<Group> group, std::int64_t rank)
        : group_(std::move(group)), rank_(rank) {}

    std::int64_t rank() const override { return rank_; }
    std::int64_t size() const override { return group_->size; }

    void exchange(std::span<const Message> sends, std::span<const Message> receives) override;
    void barrier() override;
    std::unique_ptr<Communicator> duplicate() override { return split(0, rank_); }
    std::unique_ptr<Communicator> split(std::int64_t color, std::int64_t key) override;

    [[noreturn]] void abort(int status) override {
        group_->run->end(static_cast<Exit>(status),
                         fmt::format("rank {} ended the run with status {}", rank_, status));
        group_->run->throw_reason();
    }

    Run& run() { return *group_->run; }

  private:
    void receive(std::unique_lock<std::mutex>& lock, const Message& message);
    void arrive(std::unique_lock<std::mutex>& lock);

    std::shared_ptr<Group> group_;
    std::int64_t rank_;
    std::atomic<bool> in_use_ = false;
};

void LoopbackCommunicator::receive(std::unique_lock<std::mutex>& lock, const Message& message) {
    std::deque<Posted*>& box = group_->box(message.peer, rank_);
    group_->wait(
        lock, [&] { return !box.empty(); },
        [&] {
            return fmt::format("rank {} has waited for {} bytes from rank {}", rank_, message.bytes,
                               message.peer);
        });
    Posted& posted = *box.front();
    box.pop_front();
    if (posted.bytes != message.bytes) {
        group_->run->end(Exit::internal, fmt::format("rank {} sends {} bytes to rank {}, which expects {}",
                                                     message.peer, posted.bytes, rank_, message.bytes));
        group_->run->throw_reason();
    }
    std::memcpy(message.data, posted.data, static_cast<std::size_t>(posted.bytes));
    posted.received = true;
    group_->changed.notify_all();
}

void LoopbackCommunicator::exchange(std::span<const Message> sends, std::span<const Message> receives) {
    const SoleUser sole(in_use_, rank_);
    check_messages(sends, size());
    check_messages(receives, size());
    copy_own_messages(rank_, sends, receives);

    std::vector<Posted>
        posted;  // outlives the lock: other ranks read it only under the lock of a run that goes on
    std::vector<std::int64_t> peers;
    posted.reserve(sends.size());
    std::unique_lock lock(group_->mutex);
    for (const Message& message : sends) {
        if (message.peer == rank_ || message.bytes == 0) continue;
        posted.push_back({message.data, message.bytes});
        peers.push_back(message.peer);
        group_->box(rank_, message.peer).push_back(&posted.back());
    }
    group_->changed.notify_all();
    for (const Message& message : receives) {
        if (message.peer != rank_ && message.bytes != 0) receive(lock, message);
    }
    for (std::size_t i = 0; i < posted.size(); ++i) {
        group_->wait(
            lock, [&] { return posted[i].received; },
            [&] {
                return fmt::format("rank {} has waited for rank {} to receive {} bytes", rank_, peers[i],
                                   posted[i].bytes);
            });
    }
}

/// Under the group's lock: returns when all ranks have come here.
void LoopbackCommunicator::arrive(std::unique_lock<std::mutex>& lock) {
    const std::int64_t generation = group_->generation;
    if (++group_->arrived == group_->size) {
        group_->arrived = 0;
        ++group_->generation;
        group_->changed.notify_all();
        return;
    }
    group_->wait(
        lock, [&] { return group_->generation != generation; },
        [&] { return fmt::format("rank {} has waited at a barrier", rank_); });
}

void LoopbackCommunicator::barrier() {
    const SoleUser sole(in_use_, rank_);
    std::unique_lock lock(group_->mutex);
    arrive(lock);
}

std::unique_ptr<Communicator> LoopbackCommunicator::split(std::int64_t color, std::int64_t key) {
    const SoleUser sole(in_use_, rank_);
    std::unique_lock lock(group_->mutex);
    const std::shared_ptr<SplitRound> round = group_->split_round;
    round->asked[static_cast<std::size_t>(rank_)] = {color, key};
    arrive(lock);

    // Whoever comes first makes the groups of all and opens the next round.
    if (group_->split_round == round) {
        group_->split_round = std::make_shared<SplitRound>(group_->size);
        std::vector<std::size_t> order(round->asked.size());
        for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
        std::stable_sort(order.begin(), order.end(),
                         [&](std::size_t a, std::size_t b) { return round->asked[a] < round->asked[b]; });
        for (std::size_t begin = 0, end = 0; begin < order.size(); begin = end) {
            while (end < order.size() && round->asked[order[end]].first == round->asked[order[begin]].first)
                ++end;
            const auto group = std::make_shared<Group>(group_->run, static_cast<std::int64_t>(end - begin));
            for (std::size_t i = begin; i < end; ++i) {
                round->given[order[i]] = {group, static_cast<std::int64_t>(i - begin)};
            }
        }
    }
    auto& [group, rank] = round->given[static_cast<std::size_t>(rank_)];
    return std::make_unique<LoopbackCommunicator>(std::move(group), rank);
}

}  // namespace

std::vector<std::unique_ptr<Communicator>> make_loopback(std::int64_t num_ranks, double time_limit_s) {
    const auto group = std::make_shared<Group>(std::make_shared<Run>(time_limit_s), num_ranks);
    std::vector<std::unique_ptr<Communicator>> ranks;
    for (std::int64_t rank = 0; rank < num_ranks; ++rank) {
        ranks.push_back(std::make_unique<LoopbackCommunicator>(group, rank));
    }
    return ranks;
}

void run_on_loopback(std::int64_t num_ranks, const std::function<void(Communicator&)>& body) {
    const std::vector<std::unique_ptr<Communicator>> ranks = make_loopback(num_ranks);
    std::mutex mutex;
    std::exception_ptr first;
    std::vector<std::thread> threads;
    for (const auto& communicator : ranks) {
        threads.emplace_back([&, rank = static_cast<LoopbackCommunicator*>(communicator.get())] {
            try {
                body(*rank);
            } catch (...) {
                {
                    const std::lock_guard lock(mutex);
                    if (!first) first = std::current_exception();
                }
                rank->run().end(Exit::internal, fmt::format("rank {} left by an exception", rank->rank()));
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    if (first) std::rethrow_exception(first);
}

}  // namespace eps::comm
