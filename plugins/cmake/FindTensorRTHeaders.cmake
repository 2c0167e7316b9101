# Gives NATDEPLOY_TENSORRT_HEADERS: the folder of NvInferRuntime.h. Only headers are needed, nothing is linked.
#
# In this order: TENSORRT_ROOT (variable or environment), what scripts/fetch_tensorrt_headers left, the system's paths.

if(NOT TENSORRT_ROOT AND DEFINED ENV{TENSORRT_ROOT})
  set(TENSORRT_ROOT "$ENV{TENSORRT_ROOT}")
endif()
if(TENSORRT_ROOT)
  find_path(NATDEPLOY_TENSORRT_HEADERS NvInferRuntime.h
    PATHS "${TENSORRT_ROOT}" PATH_SUFFIXES include include/x86_64-linux-gnu include/aarch64-linux-gnu NO_DEFAULT_PATH)
  if(NOT NATDEPLOY_TENSORRT_HEADERS)
    message(FATAL_ERROR "TENSORRT_ROOT is ${TENSORRT_ROOT}, but neither it nor its folder include holds NvInferRuntime.h. "
      "Name the root folder of a TensorRT SDK, 10.3 or newer.")
  endif()
else()
  find_path(NATDEPLOY_TENSORRT_HEADERS NvInferRuntime.h
    HINTS "${CMAKE_CURRENT_LIST_DIR}/../../build/tensorrt-headers" PATHS /usr/local/tensorrt/include)
endif()
if(NOT NATDEPLOY_TENSORRT_HEADERS)
  message(FATAL_ERROR "TensorRT's headers were not found. Either name a TensorRT SDK, 10.3 or newer, with "
    "-DTENSORRT_ROOT=..., or install the system package libnvinfer-headers-dev, or run scripts/fetch_tensorrt_headers, "
    "which needs cargo and brings those of TensorRT 11.4 (5 MB) from the crate trtx-sys.")
endif()
message(STATUS "TensorRT headers: ${NATDEPLOY_TENSORRT_HEADERS}")
