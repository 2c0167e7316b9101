# What `cmake --install` installs, a CMake package among it: find_package(natdeploy COMPONENTS op tensorrt_plugin).
#
# Install components have the names of the package's: `--component op` gives that library, its header and the package.
# Nothing installed names a folder of this machine (a test looks), so the prefix may be moved.
include(CMakePackageConfigHelpers)
set(package_folder "${CMAKE_INSTALL_LIBDIR}/cmake/natdeploy")
set(target_of_op natdeploy_op_shared)
set(target_of_tensorrt_plugin natdeploy_trt)
set(header_of_op "${PROJECT_SOURCE_DIR}/c_api/include/natdeploy/op.h")
set(header_of_tensorrt_plugin "${PROJECT_SOURCE_DIR}/tensorrt/include/natdeploy/tensorrt_plugin.h")

string(REGEX MATCH "^[0-9]+\\.[0-9]+" cuda_version "${CMAKE_CUDA_COMPILER_VERSION}")
configure_package_config_file(
  "${CMAKE_CURRENT_LIST_DIR}/natdeployConfig.cmake.in" "${PROJECT_BINARY_DIR}/natdeployConfig.cmake"
  INSTALL_DESTINATION "${package_folder}" NO_SET_AND_CHECK_MACRO NO_CHECK_REQUIRED_COMPONENTS_MACRO)
write_basic_package_version_file("${PROJECT_BINARY_DIR}/natdeployConfigVersion.cmake" COMPATIBILITY SameMinorVersion)

foreach(component IN LISTS NATDEPLOY_COMPONENTS)
  install(TARGETS ${target_of_${component}} EXPORT natdeploy_${component}
    LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT ${component})
  install(FILES "${header_of_${component}}" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}/natdeploy" COMPONENT ${component})
  # One file for each, so that a component can be installed without the other.
  install(EXPORT natdeploy_${component} NAMESPACE natdeploy:: FILE natdeployTargets_${component}.cmake
    DESTINATION "${package_folder}" COMPONENT ${component})
  install(FILES "${PROJECT_BINARY_DIR}/natdeployConfig.cmake" "${PROJECT_BINARY_DIR}/natdeployConfigVersion.cmake"
    DESTINATION "${package_folder}" COMPONENT ${component})
endforeach()

# The Python package's own: where natdeploy/plugin_library.py looks. Only pip asks for it.
if("tensorrt_plugin" IN_LIST NATDEPLOY_COMPONENTS)
  install(TARGETS natdeploy_trt LIBRARY DESTINATION natdeploy/lib COMPONENT python EXCLUDE_FROM_ALL)
endif()
