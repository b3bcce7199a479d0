# The CUDA compiler and the libraries of the CUDA rooms. Seen by those rooms alone.

if(NOT CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES 90a CACHE STRING "GPUs to compile for; 90a: H100 and H200 with their tensor-core instructions")
endif()
enable_language(CUDA)
set(CMAKE_CUDA_FLAGS_RELEASE "-O3 -lineinfo -DNDEBUG")
if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # CMake 3.25 does not know that this nvcc has C++20
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
endif()
set(CMAKE_CUDA_STANDARD 20)
set(CMAKE_CUDA_EXTENSIONS OFF)
foreach(flag IN ITEMS -Werror=all-warnings -Xcompiler=-Wall,-Wextra,-Werror)
    add_compile_options($<$<COMPILE_LANGUAGE:CUDA>:${flag}>)
endforeach()

find_package(CUDAToolkit 13 REQUIRED)
set(cuda_hints HINTS ${EPS_DEPS_DIR} ${CUDAToolkit_LIBRARY_ROOT} ${CUDAToolkit_TARGET_DIR} PATH_SUFFIXES include lib lib64)

# eps_cuda_library(NAME HEADER LIBRARY): a library beside the toolkit.
function(eps_cuda_library name header library)
    find_path(${name}_INCLUDE ${header} ${cuda_hints})
    find_library(${name}_LIBRARY ${library} ${cuda_hints})
    if(NOT ${name}_INCLUDE OR NOT ${name}_LIBRARY)
        message(FATAL_ERROR "<${header}> or lib${library} not found: install it, or set ${name}_INCLUDE and ${name}_LIBRARY")
    endif()
    add_library(${name} INTERFACE)
    target_include_directories(${name} SYSTEM INTERFACE ${${name}_INCLUDE})
    target_link_libraries(${name} INTERFACE ${${name}_LIBRARY})
endfunction()

# eps_cuda_headers(NAME HEADER): headers alone, from the system or EPS_DEPS_DIR.
function(eps_cuda_headers name header)
    find_path(${name}_INCLUDE ${header} ${cuda_hints})
    if(NOT ${name}_INCLUDE)
        message(FATAL_ERROR "<${header}> not found: run scripts/vendor_deps.sh DIR and pass -DEPS_DEPS_DIR=DIR")
    endif()
    add_library(${name} INTERFACE)
    target_include_directories(${name} SYSTEM INTERFACE ${${name}_INCLUDE})
endfunction()

# The driver is linked as the stub of the toolkit: it is there at run time only.
add_library(eps_cuda INTERFACE)
target_link_libraries(eps_cuda INTERFACE CUDA::cudart_static CUDA::cuda_driver)
add_library(eps_cublas INTERFACE)
target_link_libraries(eps_cublas INTERFACE CUDA::cublasLt)
eps_cuda_library(eps_nccl nccl.h nccl)
eps_cuda_library(eps_cudnn cudnn.h cudnn)
eps_cuda_headers(eps_cutlass cutlass/cutlass.h)
eps_cuda_headers(eps_cudnn_frontend cudnn_frontend.h)
