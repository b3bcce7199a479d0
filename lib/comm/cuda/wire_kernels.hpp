// The kernels of the emulated wire. For files of this folder.
#pragma once

#include "comm/busy_times.hpp"

#include <array>
#include <cstdint>

struct CUstream_st;

namespace eps::comm::cuda {

inline constexpr int kMostOnWire = 256;

/// Of one rank, in device memory. Zero is a free wire.
struct WireState {
    BusyTimesOf<32> out, in;
    std::int64_t host_ahead_ns = 0;  // steady clock of the host, less the device's clock
    int locked = 0;                  // by a lane
};

/// Goes ahead of every message, so that the other end knows what the sender's wire did.
struct Departure {
    std::int64_t left_ns = 0;    // of the sender's host
    std::int64_t queued_ns = 0;  // of these, waited for the way out
};

/// Messages that are posted when the stream comes here, in the order in which they leave.
struct Leaving {
    WireState* wire = nullptr;
    Departure* departures = nullptr;  // [num], written
    std::int64_t* sent_ns = nullptr;  // written: when the last one has left
    int num = 0;
    std::array<std::int64_t, kMostOnWire> durations_ns = {};
};
void leave(CUstream_st* stream, const Leaving& messages);

/// Messages whose copies have come. The stream goes on when the wire would have delivered them, and would
/// have sent what was left with them.
struct Arriving {
    WireState* wire = nullptr;
    const Departure* departures = nullptr;  // [num]
    const std::int64_t* sent_ns = nullptr;
    std::int64_t latency_ns = 0;
    int num = 0;
    std::array<std::int64_t, kMostOnWire> durations_ns = {};
    std::array<bool, kMostOnWire> same_clock = {};  // as the sender
};
void arrive(CUstream_st* stream, const Arriving& messages);

/// Answers `num_questions` of the host: when `asked` is i, `time_ns` is the device's time, then `answered` i.
void tell_time(CUstream_st* stream, int num_questions, volatile int* asked, volatile std::int64_t* time_ns,
               volatile int* answered);

}  // namespace eps::comm::cuda
