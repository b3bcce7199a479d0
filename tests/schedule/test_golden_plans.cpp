// The printed plans of a small pass, one file a schedule: what a change of a schedule changes is to be seen.
// EPS_UPDATE_GOLDEN=1 in the environment writes the files anew.
#include "plan/print.hpp"
#include "tests/catch.hpp"
#include "tests/schedule/lowered_pass.hpp"

#include <cstdlib>
#include <fstream>
#include <sstream>

using namespace eps;
using namespace schedule_tests;

namespace {

std::string print_ranks(const LoweredPass& lowered, std::int64_t num_ranks) {
    std::string text;
    for (std::int64_t rank = 0; rank < num_ranks; ++rank)
        text += "rank " + std::to_string(rank) + ": " + plan::print(lowered.plan(rank)) + "\n";
    return text;
}

void compare(const std::string& name, TestCase test) {
    test.layers = 2;  // one dense, one with experts
    test.lengths = {3, 2, 4};
    const std::string text = print_ranks(LoweredPass(test), test.placement.world());
    const std::string path = std::string(EPS_SOURCE_DIR) + "/tests/schedule/golden/" + name + ".txt";
    if (const char* update = std::getenv("EPS_UPDATE_GOLDEN");
        update != nullptr && std::string(update) == "1")
        std::ofstream(path) << text;
    std::stringstream golden;
    golden << std::ifstream(path).rdbuf();
    INFO(path << " is another plan; EPS_UPDATE_GOLDEN=1 writes it anew");
    CHECK(text == golden.str());
}

TestCase chunked(const std::string& strategy, const std::string& base, schedule::Combine combine) {
    TestCase test = case_of(strategy, 2, base);
    test.schedule.chunks = 3;
    test.schedule.combine = combine;
    return test;
}

}  // namespace

TEST_CASE("plans are those in the golden files") {
    using schedule::Combine;
    for (const char* strategy : {"ep", "dp", "tp", "pp", "tp_ep"}) compare(strategy, case_of(strategy, 2));
    TestCase overlapped = case_of("ep", 2);
    overlapped.schedule.overlap = true;
    compare("ep_overlap", overlapped);
    compare("eps", chunked("eps", "ep", Combine::per_token));
    compare("eps_per_chunk", chunked("eps", "ep", Combine::per_chunk));
    compare("eps_tp_ep", chunked("eps", "tp_ep", Combine::per_token));
    compare("eps_serial", chunked("eps_serial", "ep", Combine::per_token));
    TestCase copies = chunked("eps", "ep", Combine::per_token);
    copies.schedule.dedup = false;
    copies.schedule.oracle = true;
    compare("eps_no_dedup_oracle", copies);
}
