# luce_precompiled(TARGET...): the targets read the headers that nearly every file begins with from one precompiled
# header. LibTorch's alone take a file six of its nine seconds.
#
# A precompiled header serves files with the same flags as its own, so that all of these targets take -fPIC and
# -fopenmp. LibTorch's parallel loops are templates, and run on one thread in a file that is compiled without OpenMP.
option(LUCE_PRECOMPILED "Read common headers precompiled, which compiles three times as fast" ON)

function(luce_precompiled)
  if(LUCE_PRECOMPILED AND NOT TARGET luce_headers)
    file(CONFIGURE OUTPUT "${PROJECT_BINARY_DIR}/luce_headers.cpp" CONTENT "// Reads the precompiled header.\n")
    add_library(luce_headers OBJECT "${PROJECT_BINARY_DIR}/luce_headers.cpp")
    target_compile_features(luce_headers PRIVATE cxx_std_20)
    target_link_libraries(luce_headers PRIVATE luce::torch nlohmann_json::nlohmann_json)
    target_compile_options(luce_headers PRIVATE -fPIC -fopenmp)
    target_precompile_headers(
      luce_headers
      PRIVATE
      <ATen/ATen.h>
      <nlohmann/json.hpp>
      <algorithm>
      <cmath>
      <filesystem>
      <functional>
      <map>
      <memory>
      <optional>
      <string>
      <vector>)
    luce_warnings(luce_headers)
  endif()
  foreach(target IN LISTS ARGN)
    target_compile_options(${target} PRIVATE -fPIC -fopenmp)
    if(LUCE_PRECOMPILED)
      target_precompile_headers(${target} REUSE_FROM luce_headers)
      # GCC 12 warns of copies of strings that its own library makes, once a precompiled header hides whose they are.
      set(of_strings -Wno-array-bounds -Wno-restrict -Wno-stringop-overflow -Wno-stringop-overread)
      target_compile_options(
        ${target} PRIVATE $<$<AND:$<CXX_COMPILER_ID:GNU>,$<VERSION_LESS:$<CXX_COMPILER_VERSION>,13>>:${of_strings}>)
    endif()
  endforeach()
endfunction()
