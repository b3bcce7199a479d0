// A backend as the program sees it: what it computes with on this machine, what a group of cases will take,
// and the group's weights and executor.
#pragma once

#include "backend/executor.hpp"
#include "backend/meter.hpp"
#include "backend/pass_runner.hpp"
#include "base/error.hpp"
#include "checkpoint/weight_source.hpp"
#include "comm/communicator.hpp"
#include "comm/progress.hpp"
#include "cost/calibration.hpp"
#include "cost/wanted.hpp"

#include <algorithm>
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace eps::backend {

/// What a backend needs to know of this rank; all of it outlives the backend.
struct BackendSetup {
    comm::Communicator* world = nullptr;
    comm::ProgressBoard* board = nullptr;
    /// Called where an op failed, before anything else: peers wait for this rank, so the run has to end.
    std::function<void(const std::exception&)> on_failure;
    std::string host;
    std::int64_t local_rank = 0;  // among the ranks of this host
    std::int64_t num_local_ranks = 1;
    std::int64_t available_host_bytes = 0;
    int threads = 1;             // of the compute lane, where it runs on the CPU
    bool share_devices = false;  // more ranks than devices are wanted
    double load_margin = 1;      // room for rows beyond those expected, where room is planned
    bool graphs = true;          // ops that are the same in every pass are recorded and replayed
};

/// Versions, for the report; empty where the backend does not use them.
struct Libraries {
    std::string blas;
    std::optional<std::string> cuda, nccl;
};

/// What a calibration depends on, beside the host, its MPI and how many ranks there are.
struct MeasuredOn {
    std::string backend;           // as in configs
    std::string device;            // "NVIDIA H200"; empty: the host's own cores
    std::string libraries;         // of all dtypes
    std::int64_t threads = 1;      // of the compute lane
    std::int64_t cache_bytes = 0;  // weights of a rank that are more come from memory in every pass
};

/// Bytes of one rank for cases that live together.
struct PredictedMemory {
    std::int64_t weights = 0;  // as held: packed for the GEMM, or plain
    std::int64_t buffers = 0;  // work buffers, shared by the cases, and each case's inputs
    std::int64_t loading = 0;  // on top of the weights while they are made

    std::int64_t peak() const { return weights + std::max(buffers, loading); }
};

/// Cases that share a placement and dtype, each with a pass lowered from expected counts. Not empty.
using Cases = std::vector<PassRunner*>;

/// The weights of a group of cases, and what runs them.
class Group {
  public:
    virtual ~Group() = default;
    /// Makes the executor. Collective.
    virtual Executor& start() = 0;
    virtual bool weights_finite() const = 0;
    virtual std::int64_t weight_bytes() const = 0;
};

class Backend {
  public:
    virtual ~Backend() = default;

    /// `dtypes`: those of the run's cases.
    virtual Libraries libraries(const std::vector<DType>& dtypes) const = 0;
    virtual std::optional<std::string> device() const { return std::nullopt; }
    /// Sentences that belong to every result.
    virtual std::vector<std::string> notes() const { return {}; }
    /// How exchanges of this schedule travel, in the config's word; empty where there is no choice.
    virtual std::string transport(const schedule::Schedule& /*schedule*/) const { return ""; }

    /// Of this rank's device.
    virtual Meter& meter() { return no_meter_; }

    /// Whose memory it is ("host a"): ranks that give the same share it. And what is left of it.
    virtual std::string memory_name() const = 0;
    virtual std::int64_t available_bytes() const = 0;
    virtual PredictedMemory predict(const Cases& cases) const = 0;

    /// Reads or makes the weights. Errors: data, resource. Cases and source outlive the group.
    virtual std::unique_ptr<Group> load(const Cases& cases, const checkpoint::WeightSource& source) = 0;

    virtual MeasuredOn measured_on() const = 0;
    /// Measures times for `auto` to decide by (calibrate.hpp). Collective, before anything is loaded.
    virtual cost::Calibration measure(const model::ModelSpec& spec, const cost::Measured& measured,
                                      const std::vector<cost::Wanted>& wanted,
                                      const cost::Calibration* known) = 0;

  private:
    Meter no_meter_;
};

/// A backend that was built: how to make it, and what --list-devices says of it (null: it has none).
struct BackendEntry {
    std::function<std::unique_ptr<Backend>(const BackendSetup&)> make;
    std::string (*devices)() = nullptr;
};
/// By the name that configs use.
using Backends = std::map<std::string, BackendEntry>;

/// Bytes of all work buffers that `cases` share, as large as the largest case needs them, and of each one's
/// inputs.
std::int64_t buffer_bytes(const Cases& cases);

}  // namespace eps::backend
