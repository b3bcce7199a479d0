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

# Flags for gcc alone: nvcc, where it is used, has its own (cuda.cmake).
function(eps_add_flags)
    foreach(flag IN LISTS ARGN)
        add_compile_options($<$<COMPILE_LANGUAGE:C,CXX>:${flag}>)
    endforeach()
endfunction()

eps_add_flags(-Wall -Wextra -Wpedantic -Wshadow -Wconversion)
# Warnings that depend on what the optimiser sees differ by version and by sanitizer and are often false: they are
# shown, but stop nobody's build. -Wrestrict is wrong for std::string at -O3 in gcc 12.
eps_add_flags(-Werror -Wno-restrict)
foreach(warning IN ITEMS maybe-uninitialized array-bounds stringop-overflow stringop-overread dangling-pointer)
    eps_add_flags(-Wno-error=${warning})
endforeach()
# Sums have one fixed order and rounding everywhere; only lib/kernels/cpu may fuse multiply and add.
eps_add_flags(-ffp-contract=off)
