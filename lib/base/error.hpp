// Errors of the whole program: a library throws, main prints one line and ends every rank.
#pragma once

#include <stdexcept>
#include <string>

namespace eps {

/// Exit status of the program; the numbers are a contract.
enum class Exit : int {
    ok = 0,
    usage = 2,          // command line or config
    data = 3,           // model or checkpoint data
    invalid = 4,        // a case did not prove itself
    resource = 5,       // memory, devices, rows beyond the planned room
    communication = 6,  // a peer or the time limit
    regression = 7,     // found by a comparison
    internal = 70,
};

/// The one exception type: `what()` is a single line that says what is wrong, where, and what would help.
class Error : public std::runtime_error {
  public:
    Error(Exit status, const std::string& message) : std::runtime_error(message), status_(status) {}
    Exit status() const { return status_; }

  private:
    Exit status_;
};

}  // namespace eps
