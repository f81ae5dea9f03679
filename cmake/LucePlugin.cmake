# Losses in shared objects (docs/extending.md): what builds them, and what a program needs to load them. Used by
# Luce's own build and, installed, by find_package(Luce).

# luce_add_plugin(NAME SOURCE...): a shared object for "plugins" in a config, libNAME.so. It sees Luce's headers
# and LibTorch's and links neither: the program that loads it has both, and a second copy would not be the same.
function(luce_add_plugin name)
  add_library(${name} MODULE ${ARGN})
  target_compile_features(${name} PRIVATE cxx_std_20)
  target_include_directories(${name} SYSTEM PRIVATE "$<TARGET_PROPERTY:luce::luce,INTERFACE_INCLUDE_DIRECTORIES>")
  target_compile_definitions(${name} PRIVATE "$<TARGET_PROPERTY:luce::luce,INTERFACE_COMPILE_DEFINITIONS>")
endfunction()

# luce_allow_plugins(TARGET): a program that links luce::luce gets all of it, not only what it calls itself, and
# shows it to the plug-ins that it loads.
function(luce_allow_plugins target)
  set_target_properties(${target} PROPERTIES ENABLE_EXPORTS ON)
  foreach(library luce::luce luce::core)
    get_target_property(actual ${library} ALIASED_TARGET) # in Luce's own build
    if(NOT actual)
      set(actual ${library})
    endif()
    set_target_properties(${target} PROPERTIES LINK_LIBRARY_OVERRIDE_${actual} WHOLE_ARCHIVE)
  endforeach()
endfunction()
