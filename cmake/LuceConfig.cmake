# find_package(Luce): the targets luce::core (no LibTorch) and luce::luce (everything), luce_add_plugin and
# luce_allow_plugins.
foreach(part LuceDependencies LuceFindTorch)
  include("${CMAKE_CURRENT_LIST_DIR}/${part}.cmake")
  if(DEFINED Luce_FOUND AND NOT Luce_FOUND)
    return()
  endif()
endforeach()
include("${CMAKE_CURRENT_LIST_DIR}/LuceTargets.cmake")
include("${CMAKE_CURRENT_LIST_DIR}/LucePlugin.cmake")
