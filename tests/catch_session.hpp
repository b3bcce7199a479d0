// Runs the tests of an executable; the one place that holds Catch2's own implementation is catch_session.cpp.
#pragma once

/// Parses the command line and runs. With `stop_at_first_failure` the rest is left out after a failed
/// assertion. Returns 0 when all passed.
int run_catch_session(int argc, char** argv, bool stop_at_first_failure);
