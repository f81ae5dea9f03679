# Install rules: libraries, headers, the program, and a package that find_package(Luce) finds wherever
# the whole folder is moved to.
include(CMakePackageConfigHelpers)
set(luce_package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/Luce")

install(TARGETS luce_core luce EXPORT LuceTargets)
if(TARGET luce_cli)
  install(TARGETS luce_cli)
endif()
install(DIRECTORY "${PROJECT_SOURCE_DIR}/include/luce" "${PROJECT_BINARY_DIR}/include/luce"
        DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}" FILES_MATCHING PATTERN "*.h")
install(EXPORT LuceTargets NAMESPACE luce:: DESTINATION "${luce_package_dir}")

write_basic_package_version_file("${PROJECT_BINARY_DIR}/LuceConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
install(FILES cmake/LuceConfig.cmake cmake/LuceDependencies.cmake cmake/LuceFindTorch.cmake cmake/LucePlugin.cmake
              "${PROJECT_BINARY_DIR}/LuceConfigVersion.cmake" DESTINATION "${luce_package_dir}")
install(FILES LICENSE DESTINATION "${CMAKE_INSTALL_DOCDIR}")
