# Writes OUTPUT, a header that says what was built; leaves the file alone when nothing changed.
# Runs at every build: cmake -DSOURCE_DIR= -DOUTPUT= -DVERSION= -DBUILD_TYPE= -DCOMPILER= -P write_version.cmake

set(git_sha unknown)
set(git_dirty false)
find_program(git git)
if(git AND EXISTS ${SOURCE_DIR}/.git)
    execute_process(COMMAND ${git} rev-parse HEAD WORKING_DIRECTORY ${SOURCE_DIR}
        OUTPUT_VARIABLE sha OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
    if(NOT failed)
        set(git_sha ${sha})
        execute_process(COMMAND ${git} status --porcelain --untracked-files=no WORKING_DIRECTORY ${SOURCE_DIR}
            OUTPUT_VARIABLE changes ERROR_QUIET)
        if(NOT changes STREQUAL "")
            set(git_dirty true)
        endif()
    endif()
endif()

file(CONFIGURE OUTPUT ${OUTPUT} @ONLY CONTENT [[
// Written by the build: what this program was built from.
#pragma once

#include <string_view>

namespace eps {

inline constexpr std::string_view kVersion = "@VERSION@";
inline constexpr std::string_view kGitSha = "@git_sha@";  // "unknown" outside a git checkout
inline constexpr bool kGitDirty = @git_dirty@;            // tracked files were changed
inline constexpr std::string_view kBuildType = "@BUILD_TYPE@";
inline constexpr std::string_view kCompiler = "@COMPILER@";

}  // namespace eps
]])
