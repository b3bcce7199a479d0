#include "comm/cuda/call.hpp"
#include "comm/cuda/wire_kernels.hpp"

namespace eps::comm::cuda {
namespace {

// One warp of few registers finds room beside the blocks of a GEMM.
constexpr int kRegisters = 32;
constexpr unsigned kLongestSleepNs = 2000;

__device__ std::int64_t device_now_ns() {
    std::int64_t now_ns = 0;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now_ns));
    return now_ns;
}

__device__ std::int64_t now_ns(const WireState& wire) {
    return device_now_ns() + wire.host_ahead_ns;
}

__device__ void sleep_until(const WireState& wire, std::int64_t time_ns) {
    for (std::int64_t left_ns = time_ns - now_ns(wire); left_ns > 0; left_ns = time_ns - now_ns(wire))
        __nanosleep(left_ns < kLongestSleepNs ? static_cast<unsigned>(left_ns) : kLongestSleepNs);
}

// Between lanes of this device.
__device__ void lock(WireState& wire) {
    while (atomicCAS(&wire.locked, 0, 1) != 0) __nanosleep(100);
    __threadfence();
}

__device__ void unlock(WireState& wire) {
    __threadfence();
    atomicExch(&wire.locked, 0);
}

__global__ void __maxnreg__(kRegisters) leave_kernel(const __grid_constant__ Leaving messages) {
    WireState& wire = *messages.wire;
    const std::int64_t posted_ns = now_ns(wire);
    std::int64_t sent_ns = posted_ns;
    lock(wire);
    for (int i = 0; i < messages.num; ++i) {
        const std::int64_t duration_ns = messages.durations_ns[i];
        const std::int64_t left_ns = wire.out.reserve(posted_ns, duration_ns);
        messages.departures[i] = {left_ns, left_ns - posted_ns};
        sent_ns = max(sent_ns, left_ns + duration_ns);
    }
    unlock(wire);
    *messages.sent_ns = sent_ns;
}

__device__ std::int64_t left_ns(const Arriving& messages, int i, std::int64_t came_ns) {
    return messages.same_clock[i] ? messages.departures[i].left_ns : came_ns + messages.departures[i].queued_ns;
}

// In the order in which they left, and of those that left at once in the order in which they are listed.
__global__ void __maxnreg__(kRegisters) arrive_kernel(const __grid_constant__ Arriving messages) {
    WireState& wire = *messages.wire;
    const std::int64_t came_ns = now_ns(wire);
    std::int64_t until_ns = *messages.sent_ns;
    lock(wire);
    int last = -1;
    std::int64_t last_left_ns = 0;
    for (int count = 0; count < messages.num; ++count) {
        int next = -1;
        std::int64_t next_left_ns = 0;
        for (int i = 0; i < messages.num; ++i) {
            const std::int64_t left = left_ns(messages, i, came_ns);
            const bool done = last >= 0 && (left < last_left_ns || (left == last_left_ns && i <= last));
            if (done || (next >= 0 && left >= next_left_ns)) continue;
            next = i;
            next_left_ns = left;
        }
        const std::int64_t duration_ns = messages.durations_ns[next];
        until_ns = max(until_ns, wire.in.reserve(next_left_ns + messages.latency_ns, duration_ns) + duration_ns);
        last = next;
        last_left_ns = next_left_ns;
    }
    unlock(wire);
    sleep_until(wire, until_ns);
}

__global__ void time_kernel(int num_questions, volatile int* asked, volatile std::int64_t* time_ns,
                            volatile int* answered) {
    for (int i = 1; i <= num_questions; ++i) {
        while (*asked < i) {
        }
        *time_ns = device_now_ns();
        __threadfence_system();
        *answered = i;
    }
}

}  // namespace

void leave(CUstream_st* stream, const Leaving& messages) {
    leave_kernel<<<1, 1, 0, stream>>>(messages);
    check(cudaGetLastError(), "leave_kernel");
}

void arrive(CUstream_st* stream, const Arriving& messages) {
    arrive_kernel<<<1, 1, 0, stream>>>(messages);
    check(cudaGetLastError(), "arrive_kernel");
}

void tell_time(CUstream_st* stream, int num_questions, volatile int* asked, volatile std::int64_t* time_ns,
               volatile int* answered) {
    time_kernel<<<1, 1, 0, stream>>>(num_questions, asked, time_ns, answered);
    check(cudaGetLastError(), "time_kernel");
}

}  // namespace eps::comm::cuda
