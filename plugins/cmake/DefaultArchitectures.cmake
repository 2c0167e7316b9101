# Gives NATDEPLOY_DEFAULT_ARCHITECTURES: what this nvcc can compile of the GPUs that we ship for, and PTX of the newest,
# which drivers compile for what comes next.

execute_process(COMMAND "${NATDEPLOY_NVCC}" --list-gpu-code OUTPUT_VARIABLE gpu_code RESULT_VARIABLE failed)
if(failed)
  message(FATAL_ERROR "${NATDEPLOY_NVCC} does not run. Name a working CUDA compiler with -DCMAKE_CUDA_COMPILER=.../nvcc.")
endif()
set(known "")
foreach(architecture 75 80 86 87 89 90 100 120)
  if(gpu_code MATCHES "sm_${architecture}[\r\n]")
    list(APPEND known ${architecture})
  endif()
endforeach()
list(POP_BACK known newest)
list(TRANSFORM known APPEND "-real")
set(NATDEPLOY_DEFAULT_ARCHITECTURES "${known};${newest}")
