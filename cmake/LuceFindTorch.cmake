# Finds LibTorch and makes two targets of it:
#   luce::torch       what CPU code links: libtorch_cpu, libc10 and their headers
#   luce::torch_cuda  the same with libtorch_cuda and libc10_cuda, where they are to be had
#
# Searched: Torch_DIR, or else CMAKE_PREFIX_PATH as find_package(Torch) reads it, then .deps/libtorch of
# Luce's sources, where `./run setup` puts it.
#
# find_package(Torch) itself is not called: that of a LibTorch with CUDA is a fatal error on a machine
# without a CUDA toolkit, and its targets link a dozen CUDA libraries that CPU code never calls. A project
# that calls it all the same, before or after, is not disturbed.
if(TARGET luce::torch)
  return()
endif()

file(GLOB luce_torch_own "${CMAKE_CURRENT_LIST_DIR}/../.deps/libtorch/lib/python3*/site-packages/torch")
string(REPLACE ":" ";" luce_torch_environment "$ENV{CMAKE_PREFIX_PATH}")
if(Torch_DIR)
  set(luce_torch_places "${Torch_DIR}") # what was asked for, or nothing
else()
  set(luce_torch_places ${CMAKE_PREFIX_PATH} ${luce_torch_environment} ${luce_torch_own})
endif()
find_path(LUCE_TORCH_CONFIG TorchConfig.cmake PATHS ${luce_torch_places} PATH_SUFFIXES share/cmake/Torch Torch
          NO_DEFAULT_PATH NO_CACHE)
if(NOT LUCE_TORCH_CONFIG)
  luce_missing("LibTorch was not found. Run `./run setup` in Luce's folder, which installs it there, or name one with \
-DTorch_DIR=<libtorch>/share/cmake/Torch.")
endif()
get_filename_component(LUCE_TORCH_ROOT "${LUCE_TORCH_CONFIG}/../../.." ABSOLUTE)

function(luce_torch_version result)
  include("${LUCE_TORCH_CONFIG}/TorchConfigVersion.cmake")
  set(${result} "${PACKAGE_VERSION}" PARENT_SCOPE)
endfunction()
luce_torch_version(LUCE_TORCH_VERSION)
if(NOT LUCE_TORCH_VERSION MATCHES "^2\\.11\\.")
  message(WARNING "Luce is tested with LibTorch 2.11; this is ${LUCE_TORCH_VERSION}: ${LUCE_TORCH_ROOT}")
endif()

foreach(library torch_cpu c10 torch_cuda c10_cuda)
  find_library(LUCE_LIB_${library} ${library} PATHS "${LUCE_TORCH_ROOT}/lib" NO_DEFAULT_PATH NO_CACHE)
endforeach()
if(NOT LUCE_LIB_torch_cpu OR NOT LUCE_LIB_c10)
  luce_missing("LibTorch in ${LUCE_TORCH_ROOT} is incomplete: lib/libtorch_cpu.so or lib/libc10.so is missing. \
Install it again.")
endif()

set(LUCE_TORCH_LIBRARY_DIRS "${LUCE_TORCH_ROOT}/lib")
add_library(luce::torch INTERFACE IMPORTED GLOBAL)
# The OpenMP runtime must be LibTorch's own: two in one process would not know of each other's threads.
find_library(LUCE_LIB_gomp NAMES libgomp.so.1 gomp PATHS "${LUCE_TORCH_ROOT}/lib" NO_CACHE)
if(NOT LUCE_LIB_gomp)
  set(LUCE_LIB_gomp gomp)
endif()
target_link_libraries(luce::torch INTERFACE "${LUCE_LIB_torch_cpu}" "${LUCE_LIB_c10}" "${LUCE_LIB_gomp}")
target_include_directories(luce::torch SYSTEM INTERFACE "${LUCE_TORCH_ROOT}/include"
                                                        "${LUCE_TORCH_ROOT}/include/torch/csrc/api/include")
if(LUCE_LIB_torch_cuda AND LUCE_LIB_c10_cuda)
  # The CUDA runtime lies beside LibTorch where both came as wheels, else in a CUDA toolkit.
  file(GLOB luce_cuda_hints "${LUCE_TORCH_ROOT}/../nvidia/cu*" "${LUCE_TORCH_ROOT}/../nvidia/cuda_runtime")
  foreach(version 13 12)
    find_library(LUCE_LIB_cudart NAMES "libcudart.so.${version}" HINTS ${luce_cuda_hints} "${LUCE_TORCH_ROOT}"
                 PATHS /usr/local/cuda PATH_SUFFIXES lib lib64 NO_CACHE)
  endforeach()
  find_path(LUCE_CUDA_INCLUDE cuda_runtime_api.h HINTS ${luce_cuda_hints} PATHS /usr/local/cuda PATH_SUFFIXES include
            NO_CACHE)
  if(LUCE_LIB_cudart AND LUCE_CUDA_INCLUDE)
    add_library(luce::torch_cuda INTERFACE IMPORTED GLOBAL)
    target_link_libraries(luce::torch_cuda INTERFACE luce::torch "${LUCE_LIB_torch_cuda}" "${LUCE_LIB_c10_cuda}"
                                                     "${LUCE_LIB_cudart}")
    target_include_directories(luce::torch_cuda SYSTEM INTERFACE "${LUCE_CUDA_INCLUDE}")
    get_filename_component(luce_cudart_dir "${LUCE_LIB_cudart}" DIRECTORY)
    list(APPEND LUCE_TORCH_LIBRARY_DIRS "${luce_cudart_dir}")
    # No symbol of libtorch_cuda is named by a caller: its operators register themselves when it is loaded.
    target_link_options(luce::torch_cuda INTERFACE "LINKER:--no-as-needed")
  endif()
endif()
message(STATUS "LibTorch ${LUCE_TORCH_VERSION}: ${LUCE_TORCH_ROOT}")
