# Libraries that are not ours. `eps_third_party` holds what every room may see; the others are linked by one room.

set(EPS_DEPS_HINTS)
if(EPS_DEPS_DIR)
    set(EPS_DEPS_HINTS ${EPS_DEPS_DIR} ${EPS_DEPS_DIR}/include)
endif()

# Stops with a line that says what to do when `header` is found nowhere.
function(eps_find_header variable header package)
    find_path(${variable} ${header} HINTS ${EPS_DEPS_HINTS})
    if(NOT ${variable})
        message(FATAL_ERROR "<${header}> not found: run scripts/install_deps.sh (Debian package ${package})")
    endif()
endfunction()

find_package(Threads REQUIRED)
add_library(eps_third_party INTERFACE)
target_link_libraries(eps_third_party INTERFACE Threads::Threads)

eps_find_header(EPS_CLI11_INCLUDE CLI/CLI.hpp libcli11-dev)
eps_find_header(EPS_JSON_INCLUDE nlohmann/json.hpp nlohmann-json3-dev)
eps_find_header(EPS_FMT_INCLUDE fmt/core.h libfmt-dev)
target_include_directories(eps_third_party SYSTEM INTERFACE ${EPS_CLI11_INCLUDE} ${EPS_JSON_INCLUDE} ${EPS_FMT_INCLUDE})
find_library(EPS_FMT_LIBRARY fmt)
if(EPS_FMT_LIBRARY AND NOT EPS_FMT_INCLUDE IN_LIST EPS_DEPS_HINTS)
    target_link_libraries(eps_third_party INTERFACE ${EPS_FMT_LIBRARY})
else()
    target_compile_definitions(eps_third_party INTERFACE FMT_HEADER_ONLY)
endif()

# Only the C interface: the C++ bindings are gone from MPI.
find_package(MPI REQUIRED COMPONENTS C)
add_library(eps_mpi INTERFACE)
target_link_libraries(eps_mpi INTERFACE MPI::MPI_C)
target_compile_definitions(eps_mpi INTERFACE OMPI_SKIP_MPICXX=1 MPICH_SKIP_MPICXX=1)

# Not by oneDNN's own CMake package, which asks for OpenCL headers. Without it the CPU backend is left out, if there is
# another one.
find_path(EPS_DNNL_INCLUDE dnnl.hpp HINTS ${EPS_DEPS_HINTS})
find_library(EPS_DNNL_LIBRARY dnnl)
if(EPS_CPU AND EPS_CUDA AND NOT (EPS_DNNL_INCLUDE AND EPS_DNNL_LIBRARY))
    message(STATUS "oneDNN not found: the CPU backend is left out")
    set(EPS_CPU OFF)
endif()
if(EPS_CPU)
    eps_find_header(EPS_DNNL_INCLUDE dnnl.hpp libdnnl-dev)
    find_library(EPS_DNNL_LIBRARY dnnl REQUIRED)
    find_package(OpenMP REQUIRED COMPONENTS CXX)
    add_library(eps_dnnl INTERFACE)
    target_include_directories(eps_dnnl SYSTEM INTERFACE ${EPS_DNNL_INCLUDE})
    target_link_libraries(eps_dnnl INTERFACE ${EPS_DNNL_LIBRARY} OpenMP::OpenMP_CXX)
endif()
