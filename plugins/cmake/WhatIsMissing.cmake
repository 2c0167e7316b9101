# Collects what this machine lacks for the libraries, so that all of it is said at once.
#
#   natdeploy_lacks("No CUDA compiler (nvcc) was found. Install ...")   what, then what to do; no semicolon
#   natdeploy_stop_if_anything_is_missing()
#
# The second ends the configuration where NATDEPLOY_PLUGINS is required, and sets NATDEPLOY_LEFT_OUT where it is auto: the
# package then holds the reason instead of the library, for `natdeploy doctor`.

set(NATDEPLOY_MISSING "")
set(NATDEPLOY_LEFT_OUT OFF)

function(natdeploy_lacks)
  string(CONCAT sentence ${ARGN})
  set(NATDEPLOY_MISSING "${NATDEPLOY_MISSING}${sentence}\n" PARENT_SCOPE)
endfunction()

macro(natdeploy_stop_if_anything_is_missing)
  if(NATDEPLOY_MISSING AND NATDEPLOY_PLUGINS STREQUAL "required")
    string(REPLACE "\n" "\n  " indented "${NATDEPLOY_MISSING}") # CMake leaves indented lines as they are
    message(FATAL_ERROR "The TensorRT plugin cannot be built.\n  ${indented}")
  elseif(NATDEPLOY_MISSING)
    message(STATUS "The TensorRT plugin is left out (NATDEPLOY_PLUGINS=auto):\n${NATDEPLOY_MISSING}")
    file(WRITE "${CMAKE_CURRENT_BINARY_DIR}/left_out.txt" "${NATDEPLOY_MISSING}")
    install(FILES "${CMAKE_CURRENT_BINARY_DIR}/left_out.txt" DESTINATION natdeploy/lib COMPONENT python)
    add_custom_target(natdeploy_trt) # what pip asks for
    set(NATDEPLOY_LEFT_OUT ON)
  endif()
endmacro()
