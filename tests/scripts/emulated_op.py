"""libnatdeploy_op.so for this CPU: the C interface over the kernels under plugins/emulation, built by g++ once."""

import sys
from functools import cache
from pathlib import Path

from plugins.kernel_program import PLUGINS, compiled
from plugins.trt_build import built, run
from side_environments import ROOT

sys.path.insert(0, str(ROOT / "scripts"))

from gpu_checks.library import OpLibrary

FLAGS = ("-O2", "-fPIC", "-fvisibility=hidden", "-I", str(PLUGINS / "c_api" / "include"))


@cache
def emulated_op() -> OpLibrary:
    """Build it where the sources changed (20 s), and load it."""

    def build(directory: Path) -> None:
        sources = [*(PLUGINS / "op").glob("*.cu"), *(PLUGINS / "op").glob("*.cpp"), PLUGINS / "c_api" / "op.cu"]
        objects = compiled(sorted(sources), directory, FLAGS)
        exports = f"-Wl,--version-script={PLUGINS / 'c_api' / 'exports.map'}"
        run("g++", "-shared", *objects, exports, "-Wl,--no-undefined", "-o", directory / "libnatdeploy_op.so")

    sources = (PLUGINS / "op", PLUGINS / "c_api", PLUGINS / "emulation", Path(__file__))
    return OpLibrary(built("emulated-op", sources, build) / "libnatdeploy_op.so")
