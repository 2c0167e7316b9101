# Builds for 64-bit Arm on another machine: Jetson, Grace, any server. CMakePresets.json uses it.
#
# nvcc compiles GPU code anywhere; for the rest it takes the cross compiler (-ccbin). Another one than the system
# package g++-aarch64-linux-gnu is named with the environment variable NATDEPLOY_AARCH64_CXX.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
if(DEFINED ENV{NATDEPLOY_AARCH64_CXX})
  set(CMAKE_CXX_COMPILER "$ENV{NATDEPLOY_AARCH64_CXX}")
else()
  find_program(NATDEPLOY_AARCH64_CXX aarch64-linux-gnu-g++ DOC "C++ compiler for aarch64" REQUIRED)
  set(CMAKE_CXX_COMPILER "${NATDEPLOY_AARCH64_CXX}")
endif()
set(CMAKE_CUDA_HOST_COMPILER "${CMAKE_CXX_COMPILER}")

# Programs are this machine's; TensorRT's headers are the same on every machine, and named by path.
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
