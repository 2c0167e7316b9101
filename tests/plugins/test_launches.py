"""What the functions that launch kernels promise programs with many threads, and programs without memory."""

import pytest
from plugins.kernel_program import PLUGINS, ROOT, WARNINGS, cuda_toolkit
from plugins.trt_build import run
from scripts.emulated_op import emulated_op

PROGRAMS = ROOT / "tests" / "cpp" / "launches"
MOST_OF_H100 = 227 << 10


@pytest.mark.slow  # 10 s, for nvcc
def test_every_launch_asks_for_as_much_shared_memory(tmp_path):
    """The limit is the kernel's: who lowers it takes room from a thread that is about to launch with more."""
    quickly = ("-Xcicc", "-O0", "-Xptxas", "-O0", "-arch=sm_90")
    kernel = (PLUGINS / "op" / "launch_whole_map.cu", "-o", tmp_path / "kernel.o")
    run(cuda_toolkit() / "bin" / "nvcc", "-std=c++20", *quickly, "-I", PLUGINS, "-c", *kernel)
    others = [PLUGINS / "op" / f"{name}.cpp" for name in ("map_grid", "parameters", "tactics", "scalar")]
    includes = ("-isystem", cuda_toolkit() / "include", "-I", PLUGINS)
    leaving_out = ("-ffunction-sections", "-Wl,--gc-sections")  # the tensor-core kernel, which tactics.cpp asks
    sources = (PROGRAMS / "record_limits.cpp", *others, tmp_path / "kernel.o", "-o", tmp_path / "program")
    run("g++", "-std=c++20", *WARNINGS, *leaving_out, *includes, *sources)
    launches = [line.split() for line in run(tmp_path / "program").splitlines()]
    kernels, limits, launched = ({launch[column] for launch in launches} for column in range(3))
    assert len(kernels) == 1 and len(launched) == 4
    assert limits == {str(MOST_OF_H100)}


def test_a_launch_without_memory_is_refused(tmp_path):
    library = emulated_op().path
    found = (library, f"-Wl,-rpath,{library.parent}", "-o", tmp_path / "program")
    run("g++", "-std=c++17", *WARNINGS, "-I", PLUGINS / "c_api" / "include", PROGRAMS / "without_memory.cpp", *found)
    assert run(tmp_path / "program") == "out of memory on the host\n"
