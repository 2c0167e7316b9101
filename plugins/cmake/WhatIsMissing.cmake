# Collects what this machine lacks for the libraries, so that all of it is said at once.
#
#   natdeploy_lacks("No CUDA compiler (nvcc) was found. Install ...")   what, then what to do; no semicolon
#   natdeploy_stop_if_anything_is_missing()
#
# The second ends the configuration where NATDEPLOY_PLUGINS is required. Where it is auto, it takes what cannot be built
# out of NATDEPLOY_COMPONENTS; the Python package then holds the reason instead of the library, for `natdeploy doctor`.

set(NATDEPLOY_MISSING "")

function(natdeploy_lacks)
  string(CONCAT sentence ${ARGN})
  set(NATDEPLOY_MISSING "${NATDEPLOY_MISSING}${sentence}\n" PARENT_SCOPE)
endfunction()

macro(natdeploy_stop_if_anything_is_missing)
  if(NATDEPLOY_MISSING AND NATDEPLOY_PLUGINS STREQUAL "required")
    string(REPLACE "\n" "\n  " indented "${NATDEPLOY_MISSING}") # CMake leaves indented lines as they are
    message(FATAL_ERROR "natdeploy's libraries cannot be built (${NATDEPLOY_COMPONENTS}).\n  ${indented}")
  elseif(NATDEPLOY_MISSING)
    file(WRITE "${CMAKE_CURRENT_BINARY_DIR}/left_out.txt" "${NATDEPLOY_MISSING}")
    install(FILES "${CMAKE_CURRENT_BINARY_DIR}/left_out.txt"
      DESTINATION natdeploy/lib COMPONENT python EXCLUDE_FROM_ALL)
    add_custom_target(natdeploy_trt) # what pip asks for
    set(left_out ${NATDEPLOY_COMPONENTS})
    if(NATDEPLOY_NVCC_WORKS)
      list(REMOVE_ITEM left_out op) # which needs nothing else
    endif()
    list(REMOVE_ITEM NATDEPLOY_COMPONENTS ${left_out})
    message(STATUS "Left out (NATDEPLOY_PLUGINS=auto): ${left_out}\n${NATDEPLOY_MISSING}")
  endif()
endmacro()
