# luce_add_kernels(TARGET): compiles cuda/*.cu and adds them to the target, which then links LibTorch's CUDA
# part and sees LUCE_CUDA=1.
#
# The kernels include no header of LibTorch, so that nvcc is called directly: CMake's CUDA language would
# want a toolkit that it knows, and take part in linking programs that use the library.
function(luce_add_kernels target)
  if(NOT TARGET luce::torch_cuda)
    message(FATAL_ERROR "LUCE_CUDA needs a LibTorch with CUDA and the CUDA runtime beside it; ${LUCE_TORCH_ROOT} is not "
                        "one. Use LUCE_TORCH=cuda ./run setup, or configure with -DLUCE_CUDA=OFF.")
  endif()
  find_program(LUCE_NVCC nvcc PATHS /usr/local/cuda/bin)
  if(NOT LUCE_NVCC)
    message(FATAL_ERROR "LUCE_CUDA needs nvcc: put it into PATH, or name it with -DLUCE_NVCC=<path>.")
  endif()
  set(LUCE_CUDA_ARCHITECTURES "80;90;100" CACHE STRING "GPU architectures that kernels are compiled for")

  set(flags -std=c++17 -O3 -lineinfo -Xcompiler=-fPIC,-Wall,-Wextra)
  if(LUCE_WERROR)
    list(APPEND flags -Werror all-warnings)
  endif()
  foreach(architecture IN LISTS LUCE_CUDA_ARCHITECTURES)
    list(APPEND flags -gencode "arch=compute_${architecture},code=sm_${architecture}")
  endforeach()
  list(GET LUCE_CUDA_ARCHITECTURES -1 newest) # and for GPUs that come after it
  list(APPEND flags -gencode "arch=compute_${newest},code=compute_${newest}")

  file(GLOB kernels CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/cuda/*.cu")
  foreach(kernel IN LISTS kernels)
    get_filename_component(name "${kernel}" NAME)
    set(object "${CMAKE_CURRENT_BINARY_DIR}/cuda/${name}.o")
    add_custom_command(
      OUTPUT "${object}"
      COMMAND "${CMAKE_COMMAND}" -E make_directory "${CMAKE_CURRENT_BINARY_DIR}/cuda"
      COMMAND "${LUCE_NVCC}" ${flags} "-I${PROJECT_SOURCE_DIR}/src" "-ccbin=${CMAKE_CXX_COMPILER}" -MD -MF "${object}.d" -c
              "${kernel}" -o "${object}"
      DEPENDS "${kernel}"
      DEPFILE "${object}.d"
      COMMENT "Compiling kernel ${name}"
      VERBATIM)
    target_sources(${target} PRIVATE "${object}")
    set_source_files_properties("${object}" PROPERTIES EXTERNAL_OBJECT ON)
  endforeach()
  target_include_directories(${target} PRIVATE "${PROJECT_SOURCE_DIR}") # "cuda/kernels.h"
  target_compile_definitions(${target} PRIVATE LUCE_CUDA=1)
  target_link_libraries(${target} PUBLIC luce::torch_cuda)
  list(LENGTH kernels count)
  message(STATUS "CUDA: ${count} kernel files with ${LUCE_NVCC}")
endfunction()
