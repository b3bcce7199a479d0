#include "app/launch.hpp"

#include "base/exit_status.hpp"
#include "comm/collectives.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace eps {

namespace {

// Status and message of what `work` throws, empty if it does not.
std::string failure_of(const std::function<void()>& work) {
    try {
        work();
    } catch (const std::exception& error) {
        return std::to_string(static_cast<int>(status_of(error))) + " " + text_of(error);
    }
    return "";
}

[[noreturn]] void throw_agreed(const std::string& failure, const std::string& who) {
    const std::size_t space = failure.find(' ');
    throw AgreedError(static_cast<Exit>(std::stoi(failure.substr(0, space))),
                      who + failure.substr(space + 1));
}

}  // namespace

void agree(comm::Communicator& world, const std::function<void()>& work) {
    const std::vector<std::string> all = comm::all_gather_strings(world, failure_of(work));
    const auto first = std::ranges::find_if(all, [](const std::string& text) { return !text.empty(); });
    if (first == all.end()) return;
    const bool alike = std::ranges::all_of(all, [&](const std::string& text) { return text == *first; });
    throw_agreed(*first, alike ? "" : "rank " + std::to_string(first - all.begin()) + ": ");
}

void on_first_rank(comm::Communicator& world, const std::function<void()>& work) {
    const std::string failure =
        comm::broadcast_string(world, 0, world.rank() == 0 ? failure_of(work) : std::string());
    if (!failure.empty()) throw_agreed(failure, "");
}

void end_run(comm::Communicator& world, const std::exception& error) {
    const Exit status = status_of(error);
    std::fprintf(stderr, "eps-bench: rank %ld: %s\n", static_cast<long>(world.rank()), text_of(error));
    std::fflush(stderr);
    world.abort(static_cast<int>(status));
    std::_Exit(static_cast<int>(status));
}

}  // namespace eps
