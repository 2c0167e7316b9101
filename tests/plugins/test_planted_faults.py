"""Faults planted in the kernels, one at a time (scripts/faults/kernels.py): the emulated runs must find each.

A fault is planted in a copy of the sources, built for few windows: with AddressSanitizer and UBSan, and, for faults
that change no number on the CPU, with ThreadSanitizer, which knows that only barriers order the threads of a block.
"""

import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from ops.cases import Case
from plugins.kernel_program import (
    PLUGINS,
    RACES,
    ROOT,
    SANITIZED,
    KernelFault,
    KernelProgram,
    compiled,
    linked,
    sources,
)
from plugins.tensor_core_cases import HEAD_DIM_32
from plugins.whole_map_cases import MAP_CASES_32

from natdeploy.ops.spec import OP_TOLERANCE

sys.path.insert(0, str(ROOT / "scripts"))
from faults.fault import Fault
from faults.kernels import FAULTS

pytestmark = pytest.mark.slow

# 3: keys behind the halo; 7: bias in registers, both stages; 9: online softmax.
WINDOWS = (3, 7, 9)
CASES = {
    "generic": [
        Case((11, 13), (4, 6), (2, 1), has_rpb=True, head_dim=16),
        Case((10, 9), (3, 5), has_rpb=True, heads=3, head_dim=5),
        Case((7, 8), (5, 3), head_dim=32),  # a channel in every lane
    ],
    "tensor_core": [case for case in HEAD_DIM_32 if case.kernel_size[0] in WINDOWS],
    "whole_map": MAP_CASES_32,
}


def family_of(fault: Fault) -> str:
    return fault.id.partition("/")[0]


class Workshop:
    """A copy of the sources with few kernels, compiled once; a fault compiles the one file again that it touches."""

    def __init__(self, directory: Path, sanitizer: Sequence[str]):
        self.root = directory
        self.flags = (*sanitizer, "-w")  # a fault may leave a variable unused
        self.plugins = directory / "plugins"
        for part in ("op", "emulation"):
            shutil.copytree(PLUGINS / part, self.plugins / part)
        self._keep_few_kernels()
        self.objects = compiled(sources(self.plugins), directory, self.flags, self.plugins)

    def _keep_few_kernels(self) -> None:
        windows = "|".join(map(str, WINDOWS))
        dropped = rf"head_dim == 64|run_for_type<(float|__nv_bfloat16)>|case (?!{windows})\d+:|if constexpr .* return"
        for dispatch in (self.plugins / "op").glob("launch_*.cu"):
            lines = dispatch.read_text().splitlines(keepends=True)
            dispatch.write_text("".join(line for line in lines if not re.search(dropped, line)))

    def program(self, directory: Path, fault: Fault | None = None) -> KernelProgram:
        """Build in a folder of ``directory``, with a fault in one of the kernels."""
        directory = directory / self.root.name
        if fault is None:
            directory.mkdir()
            return linked(self.objects, directory, self.flags)
        shutil.copytree(self.plugins, directory / "plugins")
        (directory / fault.file).write_text(fault.planted_in(self.root))
        dispatch = directory / "plugins" / "op" / f"launch_{family_of(fault)}.cu"
        faulty = compiled([dispatch], directory, self.flags, directory / "plugins")
        others = [path for path in self.objects if path.name != f"{dispatch.name}.o"]
        return linked([*faulty, *others], directory, self.flags)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("planted_faults"), SANITIZED)


@pytest.fixture(scope="module")
def races_workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("planted_races"), RACES)


def is_found(program: KernelProgram, case: Case, tactic: str, seed: int) -> bool:
    try:
        found = program.run(case, "float16", tactic, seed=seed)
    except KernelFault:
        return True
    return not bool(np.abs(found - case.expected("float16")).max() <= OP_TOLERANCE["float16"])  # NaN is found, too


def is_found_in_any(program: KernelProgram, family: str, seeds: Sequence[int]) -> bool:
    return any(is_found(program, case, family, seed) for seed in seeds for case in CASES[family])


def test_nothing_is_found_without_a_fault(workshop: Workshop, races_workshop: Workshop, tmp_path: Path):
    program, races = workshop.program(tmp_path), races_workshop.program(tmp_path)
    assert [family for family in CASES if is_found_in_any(program, family, (0, 1))] == []
    assert [family for family in CASES if is_found_in_any(races, family, (0,))] == []


@pytest.fixture(scope="module")
def verdicts(
    workshop: Workshop,
    races_workshop: Workshop,
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, Future[bool]]]:
    """Look for all chosen faults, two at a time."""

    def find(fault: Fault) -> bool:
        family, directory = family_of(fault), tmp_path_factory.mktemp("fault")
        if is_found_in_any(workshop.program(directory, fault), family, (0, 1)):
            return True
        return is_found_in_any(races_workshop.program(directory, fault), family, (0,))

    items = [item for item in request.session.items if item.name.startswith("test_fault_is_found[")]
    with ThreadPoolExecutor(2) as pool:
        yield {fault.id: pool.submit(find, fault) for fault in (item.callspec.params["fault"] for item in items)}
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.id)
def test_fault_is_found(verdicts: dict[str, Future[bool]], fault: Fault):
    assert verdicts[fault.id].result()
