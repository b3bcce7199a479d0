#include "comm/mpi.hpp"

#include "base/error.hpp"
#include "comm/back_off.hpp"
#include "comm/collectives.hpp"
#include "comm/messages.hpp"

#include <algorithm>
#include <chrono>
#include <climits>
#include <cstdint>
#include <cstring>
#include <exception>
#include <string_view>
#include <thread>
#include <utility>

#include <fmt/core.h>
#include <mpi.h>
#include <sched.h>
#include <sys/prctl.h>
#include <unistd.h>

namespace eps::comm {
namespace {

std::string text_of(int code) {
    char text[MPI_MAX_ERROR_STRING] = {};
    int length = 0;
    MPI_Error_string(code, text, &length);
    return {text, static_cast<std::size_t>(length)};
}

void check(int code, std::string_view call) {
    if (code != MPI_SUCCESS)
        throw Error(Exit::communication, fmt::format("{} failed: {}", call, text_of(code)));
}

/// Messages travel in pieces, 1 MiB or a 64th: a piece that arrives is the sign of progress that keeps a
/// waiting thread from sleeping through a large transfer (16 MiB between two ranks: 4 ms, in one piece 21
/// ms), and counts of MPI are int. Both ends derive the same pieces from the same size.
std::int64_t piece_bytes(std::int64_t bytes) {
    constexpr std::int64_t kSmallest = std::int64_t{1} << 20;
    constexpr std::int64_t kLargest = std::int64_t{1} << 30;
    return std::clamp(bytes / 64, kSmallest, kLargest);
}

class MpiCommunicator final : public Communicator {
  public:
    /// Owns `communicator`.
    explicit MpiCommunicator(MPI_Comm communicator) : communicator_(communicator) {
        check(MPI_Comm_set_errhandler(communicator_, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
        check(MPI_Comm_rank(communicator_, &rank_), "MPI_Comm_rank");
        check(MPI_Comm_size(communicator_, &size_), "MPI_Comm_size");
    }

    ~MpiCommunicator() override {
        int finalized = 0;
        MPI_Finalized(&finalized);
        if (finalized == 0) MPI_Comm_free(&communicator_);
    }

    MpiCommunicator(const MpiCommunicator&) = delete;
    MpiCommunicator& operator=(const MpiCommunicator&) = delete;

    std::int64_t rank() const override { return rank_; }
    std::int64_t size() const override { return size_; }

    void exchange(std::span<const Message> sends, std::span<const Message> receives) override {
        check_messages(sends, size_);
        check_messages(receives, size_);
        requests_.clear();
        expected_.clear();
        for (const Message& message : receives) start(message, true);
        for (const Message& message : sends) start(message, false);
        copy_own_messages(rank_, sends, receives);
        wait_for_all();
    }

    void barrier() override {
        requests_.assign(1, MPI_REQUEST_NULL);
        expected_.assign(1, Piece{});
        check(MPI_Ibarrier(communicator_, requests_.data()), "MPI_Ibarrier");
        wait_for_all();
    }

    std::unique_ptr<Communicator> duplicate() override {
        MPI_Comm made = MPI_COMM_NULL;
        check(MPI_Comm_dup(communicator_, &made), "MPI_Comm_dup");
        return std::make_unique<MpiCommunicator>(made);
    }

    std::unique_ptr<Communicator> split(std::int64_t color, std::int64_t key) override {
        if (color < 0 || color > INT_MAX || key < INT_MIN || key > INT_MAX) {
            throw Error(Exit::internal,
                        fmt::format("color {} or key {} of a split is out of range", color, key));
        }
        MPI_Comm made = MPI_COMM_NULL;
        check(MPI_Comm_split(communicator_, static_cast<int>(color), static_cast<int>(key), &made),
              "MPI_Comm_split");
        return std::make_unique<MpiCommunicator>(made);
    }

    [[noreturn]] void abort(int status) override {
        // MPI_Abort waits for mpirun, which may be gone or stuck.
        std::thread([status] {
            std::this_thread::sleep_for(std::chrono::seconds(2));
            _exit(status);
        }).detach();
        MPI_Abort(MPI_COMM_WORLD, status);
        _exit(status);
    }

  private:
    /// One request: a piece of a message, or a barrier (peer -1).
    struct Piece {
        int peer = -1;
        int bytes = 0;
        bool received = false;
    };

    void start(const Message& message, bool receive) {
        if (message.peer == rank_) return;
        const std::int64_t most = piece_bytes(message.bytes);
        const int peer = static_cast<int>(message.peer);
        for (std::int64_t begin = 0; begin < message.bytes; begin += most) {
            const int bytes = static_cast<int>(std::min(most, message.bytes - begin));
            MPI_Request& request = requests_.emplace_back(MPI_REQUEST_NULL);
            expected_.push_back({peer, bytes, receive});
            if (receive) {
                check(MPI_Irecv(message.data + begin, bytes, MPI_BYTE, peer, 0, communicator_, &request),
                      "MPI_Irecv");
            } else {
                check(MPI_Isend(message.data + begin, bytes, MPI_BYTE, peer, 0, communicator_, &request),
                      "MPI_Isend");
            }
        }
    }

    void wait_for_all() {
        const int count = static_cast<int>(requests_.size());
        indices_.resize(requests_.size());
        statuses_.resize(requests_.size());
        BackOff back_off;
        for (int num_open = count; num_open > 0;) {
            int num_done = 0;
            const int code =
                MPI_Testsome(count, requests_.data(), &num_done, indices_.data(), statuses_.data());
            if (code != MPI_SUCCESS && code != MPI_ERR_IN_STATUS) check(code, "MPI_Testsome");
            if (num_done == 0) {
                back_off.pause();
                continue;
            }
            for (int i = 0; i < num_done; ++i) {
                check_piece(expected_[static_cast<std::size_t>(indices_[static_cast<std::size_t>(i)])],
                            statuses_[static_cast<std::size_t>(i)], code == MPI_ERR_IN_STATUS);
            }
            num_open -= num_done;
            back_off.restart();
        }
    }

    void check_piece(const Piece& piece, const MPI_Status& status, bool may_have_failed) const {
        if (may_have_failed && status.MPI_ERROR != MPI_SUCCESS && status.MPI_ERROR != MPI_ERR_PENDING) {
            int kind = MPI_SUCCESS;
            MPI_Error_class(status.MPI_ERROR, &kind);
            if (kind == MPI_ERR_TRUNCATE) {
                throw Error(Exit::internal,
                            fmt::format("rank {} sends more bytes to rank {} than the {} it expects",
                                        piece.peer, rank_, piece.bytes));
            }
            throw Error(Exit::communication, fmt::format("a message between ranks {} and {} failed: {}",
                                                         rank_, piece.peer, text_of(status.MPI_ERROR)));
        }
        if (!piece.received) return;
        int bytes = 0;
        MPI_Get_count(&status, MPI_BYTE, &bytes);
        if (bytes != piece.bytes) {
            throw Error(Exit::internal, fmt::format("rank {} sends {} bytes to rank {}, which expects {}",
                                                    piece.peer, bytes, rank_, piece.bytes));
        }
    }

    MPI_Comm communicator_;
    int rank_ = 0;
    int size_ = 0;
    std::vector<MPI_Request>
        requests_;                 // of the exchange under way; kept, so that nothing is allocated once warm
    std::vector<Piece> expected_;  // beside them
    std::vector<int> indices_;
    std::vector<MPI_Status> statuses_;
};

std::string first_line(std::string text) {
    text.resize(std::min(text.find_first_of("\n\r"), text.size()));
    return text;
}

}  // namespace

MpiWorld::MpiWorld() : exceptions_before_(std::uncaught_exceptions()) {
    int initialised = 0;
    check(MPI_Initialized(&initialised), "MPI_Initialized");
    prctl(PR_SET_TIMERSLACK, 1000UL);  // ns, of sleeps of all threads started from here; 50 us without
    int provided = MPI_THREAD_SINGLE;
    if (initialised == 0) {
        check(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &provided), "MPI_Init_thread");
        initialised_here_ = true;
    } else {
        check(MPI_Query_thread(&provided), "MPI_Query_thread");
    }
    char version[MPI_MAX_LIBRARY_VERSION_STRING] = {};
    int length = 0;
    MPI_Get_library_version(version, &length);
    library_version_ = first_line(version);
    if (provided < MPI_THREAD_MULTIPLE) {
        throw Error(Exit::communication,
                    fmt::format("this MPI ({}) is built without MPI_THREAD_MULTIPLE, which lanes "
                                "need: use one that has it",
                                library_version_));
    }

    MPI_Comm all = MPI_COMM_NULL;
    check(MPI_Comm_dup(MPI_COMM_WORLD, &all), "MPI_Comm_dup");
    communicator_ = std::make_unique<MpiCommunicator>(all);

    MPI_Comm neighbours = MPI_COMM_NULL;
    check(MPI_Comm_split_type(all, MPI_COMM_TYPE_SHARED, static_cast<int>(communicator_->rank()),
                              MPI_INFO_NULL, &neighbours),
          "MPI_Comm_split_type");
    const MpiCommunicator local(neighbours);
    local_rank_ = local.rank();
    local_size_ = local.size();
    cpu_set_t cpus;
    if (sched_getaffinity(0, sizeof cpus, &cpus) == 0 && local_size_ > CPU_COUNT(&cpus))
        yields_before_sleep = kYieldsOnSharedCores;

    char host[MPI_MAX_PROCESSOR_NAME] = {};
    check(MPI_Get_processor_name(host, &length), "MPI_Get_processor_name");
    hosts_ = all_gather_strings(*communicator_, std::string(host, static_cast<std::size_t>(length)));
}

MpiWorld::~MpiWorld() {
    if (initialised_here_ && std::uncaught_exceptions() > exceptions_before_)
        communicator_->abort(static_cast<int>(Exit::internal));
    communicator_.reset();
    if (initialised_here_) MPI_Finalize();
}

}  // namespace eps::comm
