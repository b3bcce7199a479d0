# Language level, warnings and output folders of everything that is ours.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})

if(NOT CMAKE_BUILD_TYPE)
    set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
endif()
set(CMAKE_CXX_FLAGS_RELEASE "-O3 -g1 -DNDEBUG")

find_program(EPS_CCACHE ccache)
if(EPS_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
    set(CMAKE_CXX_COMPILER_LAUNCHER ${EPS_CCACHE})
endif()

add_compile_options(-Wall -Wextra -Wpedantic -Wshadow -Wconversion)
# Sanitizer presets turn this off: instrumented code gives false warnings about uninitialised values.
option(EPS_WERROR "Warnings are errors" ON)
if(EPS_WERROR)
    add_compile_options(-Werror)
endif()
# Sums have one fixed order and rounding everywhere; only lib/kernels/*_cpu.cpp may fuse multiply and add.
add_compile_options(-ffp-contract=off)
