# The libraries of the torch-free core. Used by Luce's own build and, installed, by find_package(Luce).
include(CMakeFindDependencyMacro)

# luce_missing(SENTENCE): ends the file that calls it. Inside find_package(Luce) it is that call's business
# whether this is an error.
macro(luce_missing sentence)
  if(CMAKE_FIND_PACKAGE_NAME)
    set(${CMAKE_FIND_PACKAGE_NAME}_FOUND FALSE)
    set(${CMAKE_FIND_PACKAGE_NAME}_NOT_FOUND_MESSAGE "${sentence}")
    return()
  endif()
  message(FATAL_ERROR "${sentence}")
endmacro()

# luce_find_library(TARGET HEADER LIBRARY...): an imported target for a library without a CMake
# package of its own.
function(luce_find_library target header)
  if(TARGET ${target})
    return()
  endif()
  find_path(include ${header} NO_CACHE)
  set(libraries)
  foreach(library IN LISTS ARGN)
    find_library(found_${library} ${library} NO_CACHE)
    list(APPEND libraries "${found_${library}}")
  endforeach()
  if(NOT include OR "${libraries}" MATCHES "NOTFOUND")
    return()
  endif()
  add_library(${target} INTERFACE IMPORTED GLOBAL)
  target_link_libraries(${target} INTERFACE ${libraries})
  target_include_directories(${target} INTERFACE "${include}")
endfunction()

foreach(package nlohmann_json spdlog CURL ZLIB Threads)
  if(CMAKE_FIND_PACKAGE_NAME)
    find_dependency(${package})
  else()
    find_package(${package} REQUIRED)
  endif()
endforeach()
luce_find_library(luce::sentencepiece sentencepiece_processor.h sentencepiece sentencepiece_train)
luce_find_library(luce::xxhash xxhash.h xxhash)
foreach(library sentencepiece xxhash)
  if(NOT TARGET luce::${library})
    luce_missing("Luce needs ${library}, whose header or library was not found. On Debian: apt-get install \
lib${library}-dev. Elsewhere: name its folder in CMAKE_PREFIX_PATH.")
  endif()
endforeach()
