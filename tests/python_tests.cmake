# One ctest entry for each tests/*/test_*.py, labelled with its folder.

find_package(Python3 REQUIRED COMPONENTS Interpreter)
execute_process(COMMAND ${Python3_EXECUTABLE} -c "import pytest, jsonschema, numpy, matplotlib"
    RESULT_VARIABLE failed OUTPUT_QUIET ERROR_VARIABLE reason)
if(failed)
    message(FATAL_ERROR "The end-to-end tests need pytest, jsonschema, numpy and matplotlib for ${Python3_EXECUTABLE}: "
        "run scripts/install_deps.sh, or configure with -DEPS_CLI_TESTS=OFF\n${reason}")
endif()

file(GLOB files CONFIGURE_DEPENDS */test_*.py)
foreach(file IN LISTS files)
    cmake_path(GET file STEM stem)
    cmake_path(GET file PARENT_PATH folder)
    cmake_path(GET folder FILENAME folder)
    string(REGEX REPLACE "^test_" "" stem ${stem})
    add_test(NAME ${folder}_${stem} COMMAND ${Python3_EXECUTABLE} -m pytest -q -p no:cacheprovider ${file})
    set_tests_properties(${folder}_${stem} PROPERTIES
        LABELS ${folder} TIMEOUT 900 PROCESSORS 4
        ENVIRONMENT "${mpi_environment};PYTHONDONTWRITEBYTECODE=1;EPS_BENCH=$<TARGET_FILE:eps-bench>;EPS_BUILD_DIR=${CMAKE_BINARY_DIR};EPS_SOURCE_DIR=${CMAKE_SOURCE_DIR}")
endforeach()
