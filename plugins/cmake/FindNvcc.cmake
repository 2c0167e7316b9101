# Gives NATDEPLOY_NVCC, NATDEPLOY_NVCC_FLAGS where the compiler does not find its libraries by itself, and
# NATDEPLOY_NVCC_WORKS.
#
# In this order: CMAKE_CUDA_COMPILER or CUDACXX, the cuda-toolkit Python package of NATDEPLOY_PYTHON, the system's nvcc.
# The package keeps its libraries in lib, where nvcc looks in lib64.
#
# Where another machine is built for, CUDA's libraries must be that machine's. NATDEPLOY_CUDA_TARGET says where: a
# folder of the toolkit's targets/ (aarch64-linux: Jetson with CUDA 12; sbsa-linux: every other aarch64), or any folder
# with lib/.

set(NATDEPLOY_OLDEST_CUDA 12.4)

# With -I a Python ignores what pip put around it to build this very package, and sees what the user installed.
function(natdeploy_find_packaged_nvcc python result)
  set(${result} "" PARENT_SCOPE)
  foreach(isolation "" "-I")
    execute_process(
      COMMAND "${python}" ${isolation} -c "import importlib.util as u; s = u.find_spec('nvidia.cu13'); print(list(s.submodule_search_locations)[0] if s else '')"
      OUTPUT_VARIABLE root OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    if(root AND EXISTS "${root}/bin/nvcc")
      set(${result} "${root}/bin/nvcc" PARENT_SCOPE)
      return()
    endif()
  endforeach()
endfunction()

# Whether an nvcc is new enough and makes an object file: it may lack a host compiler that it accepts.
function(natdeploy_try_nvcc nvcc reason)
  set(${reason} "" PARENT_SCOPE)
  execute_process(COMMAND "${nvcc}" --version OUTPUT_VARIABLE version RESULT_VARIABLE failed ERROR_QUIET)
  string(REGEX MATCH "release ([0-9.]+)" version "${version}")
  if(failed OR NOT version)
    set(${reason} "${nvcc} does not run. Name a working CUDA compiler with -DCMAKE_CUDA_COMPILER=.../nvcc." PARENT_SCOPE)
    return()
  elseif(CMAKE_MATCH_1 VERSION_LESS NATDEPLOY_OLDEST_CUDA)
    set(${reason} "${nvcc} is CUDA ${CMAKE_MATCH_1} where ${NATDEPLOY_OLDEST_CUDA} or newer is needed." PARENT_SCOPE)
    return()
  endif()
  set(folder "${CMAKE_CURRENT_BINARY_DIR}/try_nvcc")
  file(WRITE "${folder}/try.cu" "__global__ void kernel() {}\n")
  set(command "${nvcc}" -std=c++20 -c try.cu -o try.o)
  if(CMAKE_CUDA_HOST_COMPILER)
    list(APPEND command -ccbin "${CMAKE_CUDA_HOST_COMPILER}")
  elseif(DEFINED ENV{CUDAHOSTCXX})
    list(APPEND command -ccbin "$ENV{CUDAHOSTCXX}")
  endif()
  execute_process(COMMAND ${command} WORKING_DIRECTORY "${folder}" RESULT_VARIABLE failed ERROR_VARIABLE error OUTPUT_QUIET)
  if(failed)
    string(REGEX MATCH "[^\n]*(error|fatal|not found|No such)[^\n]*" line "${error}")
    set(${reason} "${nvcc} compiles nothing (${line}). It needs a C++ compiler that it accepts: name one with CUDAHOSTCXX."
      PARENT_SCOPE)
  endif()
endfunction()

# The flags that make an nvcc find the libraries of the machine that is built for.
function(natdeploy_cuda_libraries nvcc flags)
  get_filename_component(root "${nvcc}" DIRECTORY)
  get_filename_component(root "${root}" DIRECTORY)
  set(NATDEPLOY_CUDA_TARGET "" CACHE STRING
    "CUDA's libraries to link: a folder of the toolkit's targets/, or any with lib/")
  if(CMAKE_CROSSCOMPILING AND NOT NATDEPLOY_CUDA_TARGET)
    set(NATDEPLOY_CUDA_TARGET sbsa-linux)
  endif()
  if(NATDEPLOY_CUDA_TARGET)
    get_filename_component(target "${NATDEPLOY_CUDA_TARGET}" ABSOLUTE BASE_DIR "${root}/targets")
    if(NOT EXISTS "${target}/lib/libcudart_static.a")
      natdeploy_lacks("CUDA's libraries for ${CMAKE_SYSTEM_PROCESSOR} were not found: there is no "
        "${target}/lib/libcudart_static.a. Install NVIDIA's package cuda-cross-sbsa or cuda-cross-aarch64 of nvcc's "
        "version, or unpack the Python package nvidia-cuda-runtime for aarch64, and name the folder around its lib "
        "with -DNATDEPLOY_CUDA_TARGET=... (docs/cpp.md).")
      set(NATDEPLOY_MISSING "${NATDEPLOY_MISSING}" PARENT_SCOPE)
    endif()
    set(${flags} "-L${target}/lib" PARENT_SCOPE)
  elseif(EXISTS "${root}/lib/libcudart_static.a")
    set(${flags} "-L${root}/lib" PARENT_SCOPE)
  endif()
endfunction()

set(NATDEPLOY_NVCC_WORKS OFF)
set(NATDEPLOY_NVCC_FLAGS "")
if(CMAKE_CUDA_COMPILER)
  set(NATDEPLOY_NVCC "${CMAKE_CUDA_COMPILER}")
elseif(DEFINED ENV{CUDACXX})
  set(NATDEPLOY_NVCC "$ENV{CUDACXX}")
else()
  if(Python_EXECUTABLE) # the one that builds the Python package
    set(NATDEPLOY_PYTHON "${Python_EXECUTABLE}" CACHE FILEPATH "Python whose cuda-toolkit package has nvcc")
  endif()
  find_program(NATDEPLOY_PYTHON NAMES python3 python DOC "Python whose cuda-toolkit package has nvcc")
  if(NATDEPLOY_PYTHON)
    natdeploy_find_packaged_nvcc("${NATDEPLOY_PYTHON}" NATDEPLOY_NVCC)
  endif()
  if(NOT NATDEPLOY_NVCC)
    find_program(NATDEPLOY_SYSTEM_NVCC NAMES nvcc PATHS /usr/local/cuda/bin)
    set(NATDEPLOY_NVCC "${NATDEPLOY_SYSTEM_NVCC}")
  endif()
endif()
if(NOT NATDEPLOY_NVCC)
  natdeploy_lacks("No CUDA compiler (nvcc) was found. Either install a CUDA toolkit, ${NATDEPLOY_OLDEST_CUDA} or newer, and "
    "name it with CUDACXX=.../nvcc, or take it as a Python package: NATDEPLOY_CUDA=package pip install . (300 MB for that "
    "build only), or pip install 'natdeploy[cuda]' and -DNATDEPLOY_PYTHON=.../python for CMake.")
else()
  natdeploy_try_nvcc("${NATDEPLOY_NVCC}" reason)
  if(reason)
    natdeploy_lacks("${reason}")
  else()
    set(NATDEPLOY_NVCC_WORKS ON)
    natdeploy_cuda_libraries("${NATDEPLOY_NVCC}" NATDEPLOY_NVCC_FLAGS)
  endif()
endif()
