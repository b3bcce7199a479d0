// Exchange over NCCL. The communicator never blocks the host: whoever waits for it polls, so that an error
// ends the wait.
#include "base/range.hpp"
#include "comm/collectives.hpp"
#include "comm/cuda/call.hpp"
#include "comm/cuda/group_exchange.hpp"
#include "comm/wire.hpp"

#include <array>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <string>
#include <utility>
#include <vector>

#include <fmt/core.h>
#include <nccl.h>

namespace eps::comm::cuda {
namespace {

/// Names the first two ranks that use one GPU.
void require_own_devices(Communicator& group) {
    int device = 0;
    check(cudaGetDevice(&device), "cudaGetDevice");
    std::array<char, 32> bus = {};
    check(cudaDeviceGetPCIBusId(bus.data(), static_cast<int>(bus.size()), device), "cudaDeviceGetPCIBusId");
    const std::vector<std::string> all =
        all_gather_strings(group, fmt::format("{} {}", this_clock(), bus.data()));
    for (std::size_t a = 0; a < all.size(); ++a)
        for (std::size_t b = 0; b < a; ++b)
            if (all[a] == all[b])
                throw Error(Exit::resource, fmt::format("ranks {} and {} share a GPU, which NCCL does not "
                                                        "allow: start fewer ranks, or use transport "
                                                        "copy_engine",
                                                        b, a));
}

class NcclExchange final : public GroupExchange {
  public:
    NcclExchange(Communicator& group, int num_ctas)
        : GroupExchange(group), exceptions_before_(std::uncaught_exceptions()) {
        require_own_devices(group);
        setenv("NCCL_NVLS_ENABLE", "0", 0);
        ncclUniqueId id = {};
        const ncclResult_t made = rank_ == 0 ? ncclGetUniqueId(&id) : ncclSuccess;
        const Bytes told = broadcast_bytes(group, 0, std::as_bytes(std::span(&id, 1)));
        std::memcpy(&id, told.data(), sizeof id);
        if (made != ncclSuccess) fail(made, "ncclGetUniqueId");

        ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
        config.blocking = 0;
        if (num_ctas > 0) config.maxCTAs = num_ctas;
        const ncclResult_t begun = ncclCommInitRankConfig(&communicator_, static_cast<int>(size_), id,
                                                          static_cast<int>(rank_), &config);
        try {
            settle(begun, "ncclCommInitRankConfig");
        } catch (...) {
            if (communicator_ != nullptr) ncclCommAbort(communicator_);
            throw;
        }
    }

    ~NcclExchange() override {
        const bool in_trouble = failed_ || std::uncaught_exceptions() > exceptions_before_;
        if (in_trouble || !finalized()) {
            ncclCommAbort(communicator_);
        } else {
            ncclCommDestroy(communicator_);
        }
    }

    NcclExchange(const NcclExchange&) = delete;
    NcclExchange& operator=(const NcclExchange&) = delete;

    void enqueue(std::span<const Message> sends, std::span<const Message> receives,
                 CUstream_st* stream) override {
        copy_own(sends, receives, stream);
        require(ncclGroupStart(), "ncclGroupStart");
        for (const Message& message : sends)
            if (travels(message))
                require(ncclSend(message.data, at(message.bytes), ncclInt8, static_cast<int>(message.peer),
                                 communicator_, stream),
                        "ncclSend");
        for (const Message& message : receives)
            if (travels(message))
                require(ncclRecv(message.data, at(message.bytes), ncclInt8, static_cast<int>(message.peer),
                                 communicator_, stream),
                        "ncclRecv");
        settle(ncclGroupEnd(), "ncclGroupEnd");
    }

    void check() override {
        ncclResult_t state = ncclSuccess;
        const ncclResult_t asked = ncclCommGetAsyncError(communicator_, &state);
        if (asked != ncclSuccess) state = asked;
        if (state != ncclSuccess && state != ncclInProgress) fail(state, "an exchange");
    }

  private:
    [[noreturn]] void fail(ncclResult_t result, const char* call) {
        failed_ = true;
        const char* more = communicator_ == nullptr ? "" : ncclGetLastError(communicator_);
        throw Error(Exit::communication,
                    fmt::format("NCCL: {} failed on rank {} of {}: {}{}{}", call, rank_, size_,
                                ncclGetErrorString(result), more[0] == '\0' ? "" : ": ", more));
    }

    void require(ncclResult_t result, const char* call) {
        if (result != ncclSuccess && result != ncclInProgress) fail(result, call);
    }

    /// Until what was begun has taken its place on the stream: it is `result`, if that is final. Connections
    /// to peers are made by the first exchange with them.
    void settle(ncclResult_t result, const char* call) {
        while (result == ncclInProgress) {
            pause();
            require(ncclCommGetAsyncError(communicator_, &result), "ncclCommGetAsyncError");
        }
        if (result != ncclSuccess) fail(result, call);
    }

    bool finalized() {
        try {
            settle(ncclCommFinalize(communicator_), "ncclCommFinalize");
            return true;
        } catch (const Error&) {
            return false;
        }
    }

    int exceptions_before_ = 0;
    ncclComm_t communicator_ = nullptr;
    bool failed_ = false;
};

}  // namespace

std::unique_ptr<DeviceExchange> nccl_exchange(Communicator& group, int num_ctas) {
    return std::make_unique<NcclExchange>(group, num_ctas);
}

}  // namespace eps::comm::cuda
