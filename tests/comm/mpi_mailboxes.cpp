#include "comm/back_off.hpp"
#include "comm/collectives.hpp"
#include "comm/mailboxes.hpp"
#include "comm/mpi.hpp"
#include "tests/catch.hpp"

namespace eps::comm {
namespace {

Landing landing_of(std::int64_t from, std::int64_t to, std::int64_t i) {
    return {from * 1'000'000 + i, to * 1'000'000 + i * 3, static_cast<std::int32_t>(i % 5),
            static_cast<std::uint32_t>(i * 7)};
}

bool same(const Landing& a, const Landing& b) {
    return a.offset == b.offset && a.bytes == b.bytes && a.window == b.window && a.batch == b.batch;
}

TEST_CASE("every rank takes what every other posted for it, in order") {
    MpiWorld world;
    Communicator& all = world.communicator();
    const std::int64_t me = all.rank(), size = all.size();
    Mailboxes boxes(all);
    Mailboxes others(all);  // another pair of lanes: shares nothing
    constexpr std::int64_t kCount = 20'000;
    std::vector<std::int64_t> posted(static_cast<std::size_t>(size)), taken(posted), wrong(posted);
    BackOff back_off;
    for (std::int64_t open = 2 * size; open > 0;) {
        bool moved = false;
        for (std::int64_t peer = 0; peer < size; ++peer) {
            const auto p = static_cast<std::size_t>(peer);
            while (posted[p] < kCount && boxes.post(peer, landing_of(me, peer, posted[p]))) {
                moved = true;
                if (++posted[p] == kCount) --open;
            }
            while (const auto landing = boxes.take(peer)) {
                moved = true;
                if (!same(*landing, landing_of(peer, me, taken[p]))) ++wrong[p];
                if (++taken[p] == kCount) --open;
            }
        }
        moved ? back_off.restart() : back_off.pause();
    }
    for (std::int64_t peer = 0; peer < size; ++peer) {
        CHECK(wrong[static_cast<std::size_t>(peer)] == 0);
        CHECK(taken[static_cast<std::size_t>(peer)] == kCount);
        CHECK(!others.take(peer));
    }
    all.barrier();
}

TEST_CASE("a full queue says so and loses nothing") {
    MpiWorld world;
    Communicator& all = world.communicator();
    Mailboxes boxes(all);
    const std::int64_t next = (all.rank() + 1) % all.size();
    const std::int64_t before = (all.rank() + all.size() - 1) % all.size();
    constexpr auto kRoom = static_cast<std::int64_t>(Mailboxes::kRoom);
    for (std::int64_t i = 0; i < kRoom; ++i) REQUIRE(boxes.post(next, landing_of(0, 0, i)));
    CHECK(!boxes.post(next, landing_of(0, 0, kRoom)));
    all.barrier();
    for (std::int64_t i = 0; i < kRoom; ++i) CHECK(same(*boxes.take(before), landing_of(0, 0, i)));
    CHECK(!boxes.take(before));
    all.barrier();
    CHECK(boxes.post(next, landing_of(0, 0, kRoom)));
}

}  // namespace
}  // namespace eps::comm
