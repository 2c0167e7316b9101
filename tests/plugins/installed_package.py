"""What `cmake --install` installs, made from the build that the tests share: for tests that build against it."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path

from plugins.trt_build import PLUGINS, built, plugin_library, run


@cache
def installed_package() -> Path:
    """The prefix: its folders are lib, with lib/cmake/natdeploy, and include/natdeploy."""

    def install(directory: Path) -> None:
        build = plugin_library().parent
        run("cmake", "--build", build, "--parallel", "2")
        run("cmake", "--install", build, "--prefix", directory / "prefix")

    sources = tuple(PLUGINS / name for name in ("op", "tensorrt", "c_api", "cmake"))
    return built("package", sources, install) / "prefix"


def moved_package(target: Path) -> Path:
    """A copy of the installed files at ``target``, a folder that is not there yet."""
    shutil.copytree(installed_package(), target, symlinks=True)
    return target
