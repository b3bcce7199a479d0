#include "app/launch.hpp"

#include "base/error.hpp"
#include "comm/collectives.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace eps {

void agree(comm::Communicator& world, const std::function<void()>& work) {
    std::string failure;
    try {
        work();
    } catch (const Error& error) {
        failure = std::to_string(static_cast<int>(error.status())) + " " + error.what();
    } catch (const std::exception& error) {
        failure = std::to_string(static_cast<int>(Exit::internal)) + " " + error.what();
    }
    const std::vector<std::string> all = comm::all_gather_strings(world, failure);
    const auto first = std::ranges::find_if(all, [](const std::string& text) { return !text.empty(); });
    if (first == all.end()) return;
    const std::size_t space = first->find(' ');
    const auto status = static_cast<Exit>(std::stoi(first->substr(0, space)));
    const bool alike = std::ranges::all_of(all, [&](const std::string& text) { return text == *first; });
    const std::string who = alike ? "" : "rank " + std::to_string(first - all.begin()) + ": ";
    throw AgreedError(status, who + first->substr(space + 1));
}

void end_run(comm::Communicator& world, const std::exception& error) {
    const auto* known = dynamic_cast<const Error*>(&error);
    const Exit status = known != nullptr ? known->status() : Exit::internal;
    std::fprintf(stderr, "eps-bench: rank %ld: %s\n", static_cast<long>(world.rank()), error.what());
    std::fflush(stderr);
    world.abort(static_cast<int>(status));
    std::_Exit(static_cast<int>(status));
}

}  // namespace eps
