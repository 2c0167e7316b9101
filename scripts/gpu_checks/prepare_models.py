#!/usr/bin/env python
"""Write the ONNX files, with inputs and expected outputs, of which the steps "engines" and "plans" build engines.

    python scripts/gpu_checks/prepare_models.py [FOLDER] [--small]

Needs natdeploy[export,cpu]; the machine with the GPU does not.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
sys.path.insert(0, str(ROOT / "scripts"))

from ops.cases import Case  # noqa: E402
from ops.onnx_models import single_node_model  # noqa: E402

from gpu_checks.plans import FOLDER as PLANS  # noqa: E402
from natdeploy.ops.spec import PACKED, SPLIT  # noqa: E402

DIGITS = str(ROOT / "tests" / "data" / "digits")
LAYERS = {
    "layer": Case((28, 29), (7, 7), has_rpb=True, batch=2, heads=4, head_dim=32),
    "dilated_layer": Case((29, 28), (7, 7), (4, 4), has_rpb=True, batch=2, heads=4, head_dim=32),
}


def write_layers(folder: Path) -> None:
    """One attention layer in half precision, in both forms."""
    for name, case in LAYERS.items():
        for dtype in ("float16", "bfloat16"):
            tensors = case.tensors_in(dtype)
            expected = case.expected(dtype)
            packed = {"qkv": tensors.packed(), "output": expected.reshape(*expected.shape[:3], -1)}
            split = {"query": tensors.query, "key": tensors.key, "value": tensors.value, "output": expected}
            for op_type, arrays in ((PACKED, packed), (SPLIT, split)):
                stem = folder / f"{name}_{'packed' if op_type == PACKED else 'split'}_{dtype}"
                model = single_node_model(case, op_type, "plugin", dtype=dtype, rpb_constant=True)
                onnx.save(model, f"{stem}.onnx")
                np.savez_compressed(f"{stem}.npz", **{key: value.astype(np.float32) for key, value in arrays.items()})


def write_model(folder: Path, name: str, checkpoint: str) -> None:
    """A whole model: exported for the plugin, its outputs recorded from PyTorch by ``natdeploy verify``."""
    target, hybrid = folder / f"{name}.onnx", folder / f"{name}.hybrid.onnx"
    natdeploy(["export", checkpoint, "-o", str(hybrid), "--batch", "2"])
    recorded = str(target.with_suffix(".npz"))
    natdeploy(["verify", str(hybrid), "--checkpoint", checkpoint, "--save-reference", recorded])
    natdeploy(["lower", str(hybrid), "-o", str(target), "--form", "plugin"])
    hybrid.unlink()


def write_hybrid(folder: Path, name: str, checkpoint: str, *options: str) -> None:
    """A whole model as users export it, and what ``natdeploy verify`` is to compare its plans with."""
    folder.mkdir(exist_ok=True)
    target = folder / f"{name}.onnx"
    natdeploy(["export", checkpoint, "-o", str(target), *options])
    natdeploy(["verify", str(target), "--checkpoint", checkpoint, "--save-reference", str(target.with_suffix(".npz"))])


def natdeploy(arguments: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", "natdeploy", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(done.stderr)


def main() -> None:
    arguments = [argument for argument in sys.argv[1:] if argument != "--small"]
    folder = Path(arguments[0]) if arguments else ROOT / "build" / "gpu-models"
    folder.mkdir(parents=True, exist_ok=True)
    write_layers(folder)
    write_model(folder, "digits", DIGITS)
    write_hybrid(folder / PLANS, "digits", DIGITS)
    write_hybrid(folder / PLANS, "digits_free", DIGITS, "--dynamic-size", "32:64")
    if "--small" not in sys.argv:
        write_model(folder, "nat_mini", "random:nat_mini")
        write_model(folder, "dinat_mini", "random:dinat_mini")
        write_hybrid(folder / PLANS, "nat_mini", "random:nat_mini")
        write_hybrid(folder / PLANS, "dinat_mini_free", "random:dinat_mini", "--dynamic-size", "192:320")
    print(f"wrote {len(list(folder.rglob('*.onnx')))} models to {folder}")


if __name__ == "__main__":
    main()
