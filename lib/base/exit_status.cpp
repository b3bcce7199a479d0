#include "base/exit_status.hpp"

#include <new>

namespace eps {

namespace {

bool is_out_of_memory(const std::exception& error) {
    return dynamic_cast<const std::bad_alloc*>(&error) != nullptr;
}

}  // namespace

Exit status_of(const std::exception& error) {
    if (is_out_of_memory(error)) return Exit::resource;
    const auto* known = dynamic_cast<const Error*>(&error);
    return known != nullptr ? known->status() : Exit::internal;
}

const char* text_of(const std::exception& error) {
    return is_out_of_memory(error) ? "no memory is left on the host; fewer tokens, layers or ranks need less"
                                   : error.what();
}

}  // namespace eps
