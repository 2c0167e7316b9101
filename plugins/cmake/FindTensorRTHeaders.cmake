# Gives NATDEPLOY_TENSORRT_HEADERS: the folder of NvInferRuntime.h. Only headers are needed, nothing is linked.
#
# In this order: TENSORRT_ROOT (variable or environment), what scripts/fetch_tensorrt_headers left, the system's paths.

if(NOT TENSORRT_ROOT AND DEFINED ENV{TENSORRT_ROOT})
  set(TENSORRT_ROOT "$ENV{TENSORRT_ROOT}")
endif()
# NVIDIA's packages have them in a folder of the machine's name, which CMake looks into only after a compiler is known.
if(TENSORRT_ROOT)
  find_path(NATDEPLOY_TENSORRT_HEADERS NvInferRuntime.h
    PATHS "${TENSORRT_ROOT}" PATH_SUFFIXES include include/x86_64-linux-gnu include/aarch64-linux-gnu NO_DEFAULT_PATH)
else()
  find_path(NATDEPLOY_TENSORRT_HEADERS NvInferRuntime.h
    HINTS "${CMAKE_CURRENT_LIST_DIR}/../../build/tensorrt-headers" PATHS /usr/local/tensorrt/include
    PATH_SUFFIXES x86_64-linux-gnu aarch64-linux-gnu)
endif()

set(plugin_interface "")
if(NATDEPLOY_TENSORRT_HEADERS)
  file(STRINGS "${NATDEPLOY_TENSORRT_HEADERS}/NvInferRuntime.h" plugin_interface REGEX "IPluginV3OneBuild" LIMIT_COUNT 1)
  message(STATUS "TensorRT headers: ${NATDEPLOY_TENSORRT_HEADERS}")
endif()
if(TENSORRT_ROOT AND NOT NATDEPLOY_TENSORRT_HEADERS)
  natdeploy_lacks("TENSORRT_ROOT is ${TENSORRT_ROOT}, but neither it nor its folder include holds NvInferRuntime.h. "
    "Name the root folder of a TensorRT SDK, 10.3 or newer.")
elseif(NOT NATDEPLOY_TENSORRT_HEADERS)
  natdeploy_lacks("TensorRT's headers were not found. Either name a TensorRT SDK, 10.3 or newer, with TENSORRT_ROOT=..., or "
    "install the system package libnvinfer-headers-dev, or run scripts/fetch_tensorrt_headers, which needs cargo and "
    "brings those of TensorRT 11.4 (5 MB) from the crate trtx-sys. The operator alone needs none of them: "
    "-DNATDEPLOY_COMPONENTS=op.")
elseif(NOT plugin_interface)
  natdeploy_lacks("TensorRT's headers in ${NATDEPLOY_TENSORRT_HEADERS} are older than 10. Name a TensorRT SDK, 10.3 or "
    "newer, with TENSORRT_ROOT=....")
endif()
