"""The C interface as scripts/gpu_checks uses it: through ctypes, over the kernels executed on this CPU."""

import ctypes
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ops.cases import Case
from plugins.kernel_program import PLUGINS
from plugins.trt_build import plugin_library, run
from scripts.emulated_op import emulated_op
from side_environments import ROOT

sys.path.insert(0, str(ROOT / "scripts"))

from gpu_checks import library
from gpu_checks.library import Attention, LaunchRefused, OpLibrary

from natdeploy.errors import NatdeployError
from natdeploy.ops.spec import OP_TOLERANCE

HEADER = PLUGINS / "c_api" / "include" / "natdeploy" / "op.h"
CASE = Case((9, 14), (3, 3), (2, 3), has_rpb=True, batch=2, head_dim=32)


def attention_of(case: Case, dtype: str) -> Attention:
    height, width = case.extents
    return Attention(
        getattr(torch, dtype), case.batch, height, width, case.heads, case.head_dim, case.neighborhood, case.has_rpb
    )


def tensors_of(case: Case, dtype: str) -> list[torch.Tensor]:
    return [torch.from_numpy(np.ascontiguousarray(x)).to(getattr(torch, dtype)) for x in case.tensors_in(dtype)[:3]]


@pytest.mark.parametrize(
    ("tactic", "dtype"), [("generic", "float32"), ("generic", "bfloat16"), ("tensor_core", "float16")]
)
@pytest.mark.parametrize("case", [CASE, replace(CASE, has_rpb=False), replace(CASE, batch=0)], ids=str)
def test_both_forms_compute_the_operator(case: Case, tactic: str, dtype: str):
    op = emulated_op()
    attention = attention_of(case, dtype)
    query, key, value = tensors_of(case, dtype)
    rpb = torch.from_numpy(case.tensors().rpb) if case.has_rpb else None
    split, packed = torch.full_like(query, torch.nan), torch.full_like(query, torch.nan)
    op.launch(attention, op.tactics()[tactic], query, key, value, rpb, split)
    qkv = torch.stack([query, key, value], dim=3).contiguous()
    op.launch_packed(attention, op.tactics()[tactic], qkv, rpb, packed)
    assert torch.equal(split, packed)
    error = np.abs(split.double().numpy() - case.expected(dtype)).max(initial=0.0)
    assert error <= OP_TOLERANCE[dtype]


def test_strides_are_taken_as_they_are():
    op, attention = emulated_op(), attention_of(CASE, "float32")
    inputs = [x.permute(0, 3, 1, 2, 4).contiguous().permute(0, 2, 3, 1, 4) for x in tensors_of(CASE, "float32")]
    output = torch.full(attention.shape, torch.nan)
    op.launch(attention, 1, *inputs, torch.from_numpy(CASE.tensors().rpb), output)
    assert not inputs[0].is_contiguous()
    assert np.abs(output.double().numpy() - CASE.expected()).max() <= OP_TOLERANCE["float32"]
    with pytest.raises(ValueError, match="contiguous"):
        op.launch(attention, 1, *(x.transpose(-1, -2) for x in inputs), None, output)


def test_tactics_and_reasons():
    op = emulated_op()
    assert op.tactics() == {"generic": 1, "tensor_core": 2, "whole_map": 3}
    assert op.compute_capability() == 90
    good, wrong = attention_of(CASE, "float16"), attention_of(replace(CASE, extents=(8, 8)), "float16")
    assert op.reason_against(2, good, 90) is None
    assert "contract" in op.reason_against(1, wrong, 90)
    assert op.reason_against(77, good, 90) == "unknown tactic"
    assert op.preferred_tactic(good, 90) in (2, 3)
    assert op.workspace_size(wrong, 1) == 0


def test_what_the_oldest_gpus_can_do():
    """sm_75: float16 on tensor cores, and 64 KB of shared memory for a block."""
    op = emulated_op()
    map_7x9 = Case((7, 9), (5, 5), has_rpb=True, head_dim=32)
    assert op.preferred_tactic(attention_of(map_7x9, "float16"), 75) == 3
    assert op.preferred_tactic(attention_of(map_7x9, "bfloat16"), 75) == 1
    assert op.reason_against(2, attention_of(map_7x9, "bfloat16"), 75) == "tensor cores know bfloat16 since 8.0"
    for tactic, case, fits in [
        (2, replace(map_7x9, extents=(17, 22), kernel_size=(7, 7)), True),
        (2, replace(map_7x9, extents=(17, 22), kernel_size=(9, 9)), False),
        (3, replace(map_7x9, extents=(14, 13)), False),
    ]:
        attention = attention_of(case, "float16")
        assert op.reason_against(tactic, attention, 80) is None
        reason = op.reason_against(tactic, attention, 75)
        assert reason is None if fits else "the shared memory of this GPU" in reason


def test_what_cannot_be_launched_is_refused_with_a_reason():
    op, attention = emulated_op(), attention_of(CASE, "float32")
    query, key, value = tensors_of(CASE, "float32")
    with pytest.raises(LaunchRefused, match="no rpb"):
        op.launch(attention, 1, query, key, value, None, torch.empty_like(query))
    with pytest.raises(LaunchRefused, match="float16 and bfloat16"):
        op.launch(attention, 2, query, key, value, None, torch.empty_like(query))
    functions = op._functions
    struct = attention._struct()
    refused = functions.natdeploy_op_launch_packed(ctypes.byref(struct), 1, None, None, None, None, None)
    assert b"NULL" in refused
    struct.size = 8
    assert b"sizeof" in functions.natdeploy_op_reason_against(1, ctypes.byref(struct), 90)
    assert b"NULL" in functions.natdeploy_op_reason_against(1, None, 90)
    assert functions.natdeploy_op_launch(ctypes.byref(struct), 1, None, None, None, None, None, None, None) is not None


def test_the_structs_are_laid_out_as_in_the_header(tmp_path: Path):
    names = {"natdeploy_attention": library._Attention, "natdeploy_tensor": library._Tensor}
    lines = [
        f'printf("{struct} {field} %zu\\n", offsetof({struct}, {field}));'
        for struct, layout in names.items()
        for field, _ in layout._fields_
    ]
    lines += [f'printf("{struct} size %zu\\n", sizeof({struct}));' for struct in names]
    source = tmp_path / "layout.c"
    source.write_text('#include <stdio.h>\n#include "natdeploy/op.h"\nint main(void) {\n' + "\n".join(lines) + "}\n")
    command = ["gcc", "-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-I", str(HEADER.parents[1])]
    subprocess.run([*command, str(source), "-o", str(tmp_path / "layout")], check=True)
    printed = subprocess.run([str(tmp_path / "layout")], capture_output=True, text=True, check=True).stdout
    fields = {
        f"{s} {f} {getattr(layout, f).offset}" for s, layout in names.items() for f, _ in layout._fields_ if f != "size"
    }
    sizes = {f"{struct} size {ctypes.sizeof(layout)}" for struct, layout in names.items()}
    assert {line for line in printed.splitlines() if line != "natdeploy_attention size 0"} == fields | sizes


def test_just_the_declared_functions_are_exported():
    declared = set(re.findall(r"\b(natdeploy_op_\w+)\(", HEADER.read_text()))
    listed = subprocess.run(
        ["nm", "--dynamic", "--defined-only", "--format=posix", str(emulated_op().path)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert {line.split()[0] for line in listed.splitlines()} == declared
    assert len(declared) == 10


@pytest.mark.slow
def test_the_library_that_nvcc_builds_needs_no_cuda_to_load():
    build = plugin_library().parent
    run("cmake", "--build", build, "--target", "natdeploy_op_shared", "--parallel", "2")
    library = build / "libnatdeploy_op.so"
    needed = re.findall(r"NEEDED.*\[(.*)\]", run("readelf", "--dynamic", library))
    assert {name.split(".so")[0] for name in needed} <= {"libstdc++", "libgcc_s", "libc", "libm", "ld-linux-x86-64"}
    op = OpLibrary(library)
    assert op.tactics() == emulated_op().tactics()
    assert op.kernel_version == emulated_op().kernel_version
    if not torch.cuda.is_available():
        query, key, value = tensors_of(CASE, "float32")
        assert op.compute_capability() == 0
        with pytest.raises(LaunchRefused, match="no GPU"):
            op.launch(attention_of(CASE, "float32"), 1, query, key, value, None, torch.empty_like(query))


def test_another_library_is_refused(tmp_path: Path):
    with pytest.raises(NatdeployError, match="cannot be loaded"):
        OpLibrary(tmp_path / "libnatdeploy_op.so")
    source = tmp_path / "other.c"
    source.write_text("int natdeploy_op_abi_version(void) { return 99; }\n")
    subprocess.run(["gcc", "-shared", "-fPIC", str(source), "-o", str(tmp_path / "other.so")], check=True)
    with pytest.raises(NatdeployError, match="interface 99"):
        OpLibrary(tmp_path / "other.so")
