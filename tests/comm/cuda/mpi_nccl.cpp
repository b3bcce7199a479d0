// Exchanges over NCCL, where every rank has a GPU of its own; where not, that this is an error.
#include "base/error.hpp"
#include "tests/catch.hpp"
#include "tests/comm/cuda/async_rounds.hpp"

namespace eps::comm::cuda {
namespace {

bool has_own_device(const MpiWorld& world) {
    return world.local_size() <= num_devices();
}

TEST_CASE("NCCL does what every communicator does, or says that ranks share a GPU") {
    MpiWorld world;
    take_device(world);
    Communicator& all = world.communicator();
    if (!has_own_device(world)) {
        CHECK_THROWS_WITH(nccl_exchange(all, 0), contains_text("share a GPU, which NCCL does not allow"));
        return;
    }
    const DeviceMemory memory(128 * kMiB);
    for (const int num_ctas : {0, 4}) {
        const auto exchange = nccl_exchange(all, num_ctas);
        StagedCommunicator staged(*exchange, all, memory);
        CHECK_NOTHROW(checks::all_to_all(staged, 3000));
        CHECK_NOTHROW(checks::all_to_all(staged, 2'500'001));
        CHECK_NOTHROW(checks::message_order(staged));
        CHECK_NOTHROW(checks::collectives(staged));
    }
}

TEST_CASE("NCCL: two lanes at once") {
    MpiWorld world;
    take_device(world);
    Communicator& all = world.communicator();
    if (!has_own_device(world)) {
        CHECK_THROWS_AS(nccl_exchange(all, 8), Error);
        return;
    }
    const DeviceMemory memory(2 * RoundsOfLane::device_bytes(all.size()));
    const auto first = nccl_exchange(all, 4);
    const auto second = nccl_exchange(all, 4);
    check_two_lanes(*first, *second, memory.data(), 1500);
}

}  // namespace
}  // namespace eps::comm::cuda
