# Gives NATDEPLOY_NVCC, and NATDEPLOY_CUDA_LIBRARIES where the compiler does not find its libraries by itself.
#
# In this order: CMAKE_CUDA_COMPILER or CUDACXX, the cuda-toolkit Python package of NATDEPLOY_PYTHON, the system's nvcc.
# The package keeps its libraries in lib, where nvcc looks in lib64.

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
  if(DEFINED ENV{CUDAHOSTCXX})
    list(APPEND command -ccbin "$ENV{CUDAHOSTCXX}")
  endif()
  execute_process(COMMAND ${command} WORKING_DIRECTORY "${folder}" RESULT_VARIABLE failed ERROR_VARIABLE error OUTPUT_QUIET)
  if(failed)
    string(REGEX MATCH "[^\n]*(error|fatal|not found|No such)[^\n]*" line "${error}")
    set(${reason} "${nvcc} compiles nothing (${line}). It needs a C++ compiler that it accepts: name one with CUDAHOSTCXX."
      PARENT_SCOPE)
  endif()
endfunction()

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
  endif()
  get_filename_component(nvcc_folder "${NATDEPLOY_NVCC}" DIRECTORY)
  get_filename_component(nvcc_root "${nvcc_folder}" DIRECTORY)
  if(EXISTS "${nvcc_root}/lib/libcudart_static.a")
    set(NATDEPLOY_CUDA_LIBRARIES "${nvcc_root}/lib")
  endif()
endif()
