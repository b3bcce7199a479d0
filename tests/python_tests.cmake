# One ctest entry for each tests/*/test_*.py, labelled with its folder; those of CUDA rooms are labelled gpu.

# The first Python that has what the tests import; the one on PATH need not be the one that the packages are for.
set(modules "pytest, xdist, jsonschema, numpy, matplotlib")
if(NOT EPS_PYTHON)
    find_program(path_python python3 NO_CACHE)
    foreach(candidate IN ITEMS ${path_python} /usr/bin/python3)
        execute_process(COMMAND ${candidate} -c "import ${modules}" RESULT_VARIABLE failed OUTPUT_QUIET ERROR_QUIET)
        if(NOT failed)
            set(EPS_PYTHON ${candidate} CACHE FILEPATH "Python that has ${modules}")
            break()
        endif()
    endforeach()
endif()
if(NOT EPS_PYTHON)
    message(FATAL_ERROR "No python3 has ${modules}, which the end-to-end tests need: "
        "run scripts/install_deps.sh, set EPS_PYTHON, or configure with -DEPS_CLI_TESTS=OFF")
endif()

set(environment ${mpi_environment} PYTHONDONTWRITEBYTECODE=1
    EPS_BUILD_DIR=${CMAKE_BINARY_DIR} EPS_SOURCE_DIR=${CMAKE_SOURCE_DIR}
    XDG_CACHE_HOME=${CMAKE_BINARY_DIR}/cache)  # where runs keep their calibrations
if(TARGET eps-bench)
    list(APPEND environment EPS_BENCH=$<TARGET_FILE:eps-bench>)
endif()

file(GLOB files CONFIGURE_DEPENDS */test_*.py)
if(EPS_CUDA)
    file(GLOB gpu_files CONFIGURE_DEPENDS */cuda/test_*.py)
endif()
foreach(file IN LISTS files gpu_files)
    cmake_path(GET file STEM stem)
    cmake_path(GET file PARENT_PATH folder)
    cmake_path(RELATIVE_PATH folder)
    string(REPLACE / _ folder ${folder})
    string(REGEX REPLACE "^test_" "" stem ${stem})
    set(label ${folder})
    if(file IN_LIST gpu_files)
        set(label gpu)
    endif()
    # Most of a short run's time goes into mpirun's own waits: three at once still leave two cores room.
    add_test(NAME ${folder}_${stem} COMMAND ${EPS_PYTHON} -m pytest -q -p no:cacheprovider -n 3 --dist loadgroup ${file})
    set_tests_properties(${folder}_${stem} PROPERTIES LABELS ${label} TIMEOUT 900 PROCESSORS 2)
    set_property(TEST ${folder}_${stem} PROPERTY ENVIRONMENT ${environment})
endforeach()
