// What the tests of the config share: a small good config, and what a bad one is answered with.
#pragma once

#include "base/error.hpp"
#include "config/run_config.hpp"
#include "tests/catch.hpp"

#include <string>
#include <vector>

inline const std::string kGood = R"({
    "model": {"preset": "tiny"},
    "workload": {"batch": 4, "sequence_length": 16},
    "cases": [{"strategy": "ep"}]
})";

inline eps::config::RunConfig config_of(const std::vector<std::string>& sets, std::int64_t world_size = 4,
                                        const std::string& text = kGood) {
    return eps::config::make_run_config(text, "run.json", sets, world_size, "20260102T030405Z");
}

/// The good config with `sets` must be refused with one line that is `message`.
inline void check_refused(const std::vector<std::string>& sets, const std::string& message,
                          eps::Exit status = eps::Exit::usage, const std::string& text = kGood,
                          std::int64_t world_size = 4) {
    INFO((sets.empty() ? text : sets.back()));
    try {
        config_of(sets, world_size, text);
        FAIL_CHECK("accepted, expected: " + message);
    } catch (const eps::Error& error) {
        CHECK(std::string(error.what()) == message);
        CHECK(error.status() == status);
    }
}

/// Likewise with a message that contains `part`.
inline void check_refused_with(const std::vector<std::string>& sets, const std::string& part,
                               eps::Exit status = eps::Exit::usage, const std::string& text = kGood,
                               std::int64_t world_size = 4) {
    INFO((sets.empty() ? text : sets.back()));
    try {
        config_of(sets, world_size, text);
        FAIL_CHECK("accepted, expected: " + part);
    } catch (const eps::Error& error) {
        CHECK_THAT(error.what(), contains_text(part));
        CHECK(std::string(error.what()).find('\n') == std::string::npos);
        CHECK(error.status() == status);
    }
}
