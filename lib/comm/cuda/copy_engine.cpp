// Exchange by copy engines. What a rank receives from another in one exchange is a batch, numbered from 1 for
// ever. Two words in device memory go with a pair of ranks:
// - credit, at the sender: up to this batch the receiver's memory is free. Written by the receiver's lane
// when
//   it comes to the exchange.
// - arrived, at the receiver: up to this batch all is there. Written by the sender's lane after its copies.
// Where a message lands the receiver's host tells the sender's through a mailbox, ahead of time.
#include "base/range.hpp"
#include "comm/collectives.hpp"
#include "comm/cuda/call.hpp"
#include "comm/cuda/copy_batch.hpp"
#include "comm/cuda/copy_streams.hpp"
#include "comm/cuda/group_exchange.hpp"
#include "comm/cuda/stream_words.hpp"
#include "comm/cuda/windows.hpp"
#include "comm/mailboxes.hpp"

#include <array>
#include <cstring>
#include <utility>
#include <vector>

#include <fmt/core.h>

namespace eps::comm::cuda {
namespace {

class CopyEngineExchange final : public GroupExchange {
  public:
    CopyEngineExchange(Communicator& group, Windows& windows)
        : GroupExchange(group), windows_(windows), mailboxes_(group) {
        constexpr auto kWord = static_cast<std::int64_t>(sizeof(std::uint32_t));
        std::byte* own = windows.take(2 * size_ * kWord);
        const std::array<std::int64_t, 2> place = {windows.rank(), windows.place_of(own, 1).offset};
        const Bytes told = all_gather_bytes(group, std::as_bytes(std::span(place)));
        peers_.resize(at(size_));
        for (std::int64_t i = 0; i < size_; ++i) {
            std::array<std::int64_t, 2> theirs = {};
            std::memcpy(theirs.data(), told.data() + i * static_cast<std::int64_t>(sizeof theirs),
                        sizeof theirs);
            Peer& peer = peers_[at(i)];
            peer.world_rank = theirs[0];
            peer.credit = words_at(own) + 2 * i;
            peer.arrived = peer.credit + 1;
            if (i == rank_) continue;
            peer.credit_there = words_at(windows.address(theirs[0], {0, theirs[1]})) + 2 * rank_;
            peer.arrived_there = peer.credit_there + 1;
        }
    }

    void enqueue(std::span<const Message> sends, std::span<const Message> receives,
                 CUstream_st* stream) override {
        lane_ = stream;
        begin_batches(sends, receives);
        post();
        on_lane_ = CopyStreams::stay_on_lane(sent_bytes_);
        for (Peer& peer : peers_)
            if (peer.receives) words_.write(peer.credit_there, peer.batch_in);
        for (Peer& peer : peers_)
            if (peer.sends && on_lane_) words_.wait(peer.credit, peer.batch_out);
        words_.enqueue(lane_);
        if (!on_lane_) copies_.begin(lane_, num_sent_to_);
        send_all();
        if (on_lane_) {
            pair_own_messages(rank_, sends, receives, [this](const Message& from, const Message& to) {
                batch_.add(to.data, from.data, from.bytes);
            });
            batch_.enqueue(lane_);
        } else {
            copy_own(sends, receives, lane_);
            copies_.join();
        }
        for (Peer& peer : peers_)
            if (peer.sends) words_.write(peer.arrived_there, peer.batch_out);
        for (Peer& peer : peers_)
            if (peer.receives) words_.wait(peer.arrived, peer.batch_in);
        words_.enqueue(lane_);
    }

    void check() override {
        const cudaError_t state = lane_ == nullptr ? cudaSuccess : cudaStreamQuery(lane_);
        if (state != cudaSuccess && state != cudaErrorNotReady)
            throw Error(Exit::communication, fmt::format("an exchange by copy engines failed on rank {}: {}",
                                                         rank_, cudaGetErrorString(state)));
    }

  private:
    struct Peer {
        std::int64_t world_rank = 0;
        std::uint32_t* credit = nullptr;  // own words about this peer
        std::uint32_t* arrived = nullptr;
        std::uint32_t* credit_there = nullptr;  // its words about this rank
        std::uint32_t* arrived_there = nullptr;
        std::uint32_t batch_out = 0;  // the last one
        std::uint32_t batch_in = 0;
        bool sends = false;  // to it, in this exchange
        bool receives = false;
    };
    struct Post {
        std::int64_t peer = 0;
        Landing landing;
    };

    static std::uint32_t* words_at(std::byte* memory) { return reinterpret_cast<std::uint32_t*>(memory); }

    // Lists what travels; sends by rotating peers, the next rank first, so that no receiver is everybody's
    // first.
    void begin_batches(std::span<const Message> sends, std::span<const Message> receives) {
        posts_.clear();
        posted_ = 0;
        for (const Message& message : receives) {
            if (!travels(message)) continue;
            const Windows::Place place = windows_.place_of(message.data, message.bytes);
            posts_.push_back({message.peer, {place.offset, message.bytes, place.window, 0}});
        }
        sends_.clear();
        for (std::int64_t i = 1; i < size_; ++i)
            for (const Message& message : sends)
                if (message.bytes > 0 && message.peer == (rank_ + i) % size_) sends_.push_back(message);

        for (Peer& peer : peers_) peer.sends = peer.receives = false;
        num_sent_to_ = sent_bytes_ = 0;
        for (Post& post : posts_) {
            Peer& peer = peers_[at(post.peer)];
            if (!std::exchange(peer.receives, true)) ++peer.batch_in;
            post.landing.batch = peer.batch_in;
        }
        for (const Message& message : sends_) {
            Peer& peer = peers_[at(message.peer)];
            sent_bytes_ += message.bytes;
            if (std::exchange(peer.sends, true)) continue;
            ++peer.batch_out;
            ++num_sent_to_;
        }
    }

    // What the mailboxes take.
    void post() {
        while (posted_ < posts_.size() && mailboxes_.post(posts_[posted_].peer, posts_[posted_].landing))
            ++posted_;
    }

    // Tells where messages land and enqueues what is to be sent, until both are done.
    void send_all() {
        std::size_t sent = 0;
        for (;;) {
            post();
            for (; sent < sends_.size(); ++sent) {
                const auto landing = mailboxes_.take(sends_[sent].peer);
                if (!landing) break;
                send(sends_[sent], *landing);
            }
            if (posted_ == posts_.size() && sent == sends_.size()) break;
            pause();
        }
    }

    void send(const Message& message, const Landing& landing) {
        const Peer& peer = peers_[at(message.peer)];
        if (landing.bytes != message.bytes)
            throw Error(Exit::internal, fmt::format("rank {} sends {} bytes to rank {}, which expects {}",
                                                    rank_, message.bytes, message.peer, landing.bytes));
        if (landing.batch != peer.batch_out)
            throw Error(Exit::internal,
                        fmt::format("rank {} sends in its exchange {} with rank {} what that receives in its "
                                    "exchange {}",
                                    rank_, peer.batch_out, message.peer, landing.batch));
        std::byte* there = windows_.address(peer.world_rank, {landing.window, landing.offset});
        if (on_lane_) {
            batch_.add(there, message.data, message.bytes);
            return;
        }
        copies_.split(message.bytes, [&](Range part, CUstream_st* stream) {
            words_.wait(peer.credit, landing.batch);
            words_.enqueue(stream);
            copy(there + part.begin, message.data + part.begin, part.size(), stream);
        });
    }

    Windows& windows_;
    Mailboxes mailboxes_;
    StreamWords words_;
    CopyStreams copies_;
    CopyBatch batch_;
    std::vector<Peer> peers_;
    CUstream_st* lane_ = nullptr;
    // Of the exchange being enqueued; kept, so that nothing is allocated once warm.
    std::vector<Post> posts_;
    std::size_t posted_ = 0;  // of them
    std::vector<Message> sends_;
    std::int64_t num_sent_to_ = 0, sent_bytes_ = 0;
    bool on_lane_ = false;  // all copies: they begin at once, when all receivers have given their credit
};

}  // namespace

std::unique_ptr<DeviceExchange> copy_engine_exchange(Communicator& group, Windows& windows) {
    return std::make_unique<CopyEngineExchange>(group, windows);
}

}  // namespace eps::comm::cuda
