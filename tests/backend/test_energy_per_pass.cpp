#include "backend/energy_per_pass.hpp"
#include "tests/catch.hpp"

namespace {

using eps::backend::EnergyPerPass;

TEST_CASE("energy of a pass is counted between moves of the counter") {
    EnergyPerPass energy(1'000'000);
    REQUIRE(energy.joules() < 0);
    // Passes of 5 J; the counter moves after every fourth of them, first after the second.
    std::uint64_t counter_mj = 1'000'000;
    for (int pass = 1; pass <= 11; ++pass) {
        if (pass % 4 == 2) counter_mj = 1'000'000 + 5'000 * static_cast<std::uint64_t>(pass);
        if (pass % 2 == 0) energy.read(counter_mj, pass);
        if (pass < 6) REQUIRE(energy.joules() < 0);
    }
    REQUIRE(energy.joules() == Approx(5));
}

TEST_CASE("no energy where the counter does not count") {
    EnergyPerPass energy(0);
    for (int pass = 1; pass <= 100; ++pass) energy.read(0, pass);
    REQUIRE(energy.joules() < 0);
}

TEST_CASE("energy of long passes, each of which moves the counter") {
    EnergyPerPass energy(0);
    std::int64_t pass = 0;
    for (const std::uint64_t counter_mj : {900'000U, 1'900'000U, 2'900'000U}) energy.read(counter_mj, ++pass);
    REQUIRE(energy.joules() == Approx(1000));
}

}  // namespace
