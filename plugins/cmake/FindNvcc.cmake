# Gives NATDEPLOY_NVCC, and NATDEPLOY_CUDA_LIBRARIES where the compiler does not find its libraries by itself.
#
# In this order: CMAKE_CUDA_COMPILER or CUDACXX, the cuda-toolkit Python package of NATDEPLOY_PYTHON, the system's nvcc.
# The package keeps its libraries in lib, where nvcc looks in lib64.

function(natdeploy_find_packaged_nvcc python result)
  set(${result} "" PARENT_SCOPE)
  execute_process(
    COMMAND "${python}" -c "import importlib.util as u; s = u.find_spec('nvidia.cu13'); print(list(s.submodule_search_locations)[0] if s else '')"
    OUTPUT_VARIABLE root OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  if(root AND EXISTS "${root}/bin/nvcc")
    set(${result} "${root}/bin/nvcc" PARENT_SCOPE)
  endif()
endfunction()

if(CMAKE_CUDA_COMPILER)
  set(NATDEPLOY_NVCC "${CMAKE_CUDA_COMPILER}")
elseif(DEFINED ENV{CUDACXX})
  set(NATDEPLOY_NVCC "$ENV{CUDACXX}")
else()
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
  message(FATAL_ERROR "No CUDA compiler (nvcc) was found. Either install a CUDA toolkit, 12.4 or newer, and name it with "
    "-DCMAKE_CUDA_COMPILER=.../nvcc, or get it as a Python package: pip install 'cuda-toolkit[nvcc,cccl,cudart]==13.0.3', "
    "and name that Python with -DNATDEPLOY_PYTHON=.../python.")
endif()
get_filename_component(nvcc_folder "${NATDEPLOY_NVCC}" DIRECTORY)
get_filename_component(nvcc_root "${nvcc_folder}" DIRECTORY)
if(EXISTS "${nvcc_root}/lib/libcudart_static.a")
  set(NATDEPLOY_CUDA_LIBRARIES "${nvcc_root}/lib")
endif()
