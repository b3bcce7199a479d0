// Catch2 for tests, whether the system has version 2 (one header) or 3. Tests use only what both have.
#pragma once

#include <string>

#if __has_include(<catch2/catch_test_macros.hpp>)
#include <catch2/catch_approx.hpp>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <catch2/generators/catch_generators_range.hpp>
#include <catch2/matchers/catch_matchers.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

using Catch::Approx;

/// Matcher for REQUIRE_THROWS_WITH and REQUIRE_THAT: the text contains `part`.
inline auto contains_text(const std::string& part) {
    return Catch::Matchers::ContainsSubstring(part);
}
#else
#include <catch2/catch.hpp>

/// Matcher for REQUIRE_THROWS_WITH and REQUIRE_THAT: the text contains `part`.
inline auto contains_text(const std::string& part) {
    return Catch::Matchers::Contains(part);
}
#endif
