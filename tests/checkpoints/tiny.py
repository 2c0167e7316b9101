"""Small checkpoints, written the way their authors' tools write them."""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

GOLDEN = Path(__file__).parents[1] / "data" / "golden"


def copy_of(golden, directory):
    """A golden checkpoint to be tampered with."""
    target = directory / golden
    shutil.copytree(GOLDEN / golden, target)
    (target / "io.npz").unlink()
    return target


def edit_json(path, remove=(), **changes):
    document = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({k: v for k, v in (document | changes).items() if k not in remove}))


def edit_safetensors(directory, change):
    """Pass the weights of a Hugging Face directory through ``change``."""
    tensors = load_file(directory / "model.safetensors")
    save_file({name: t.contiguous() for name, t in change(tensors).items()}, directory / "model.safetensors")


def original_shapes(dim, depths, ratio, kernel, layout="nat", scale=False, classes=1000, channels=3):
    """Names and shapes of the authors' state dicts, spelled out from classification/{nat,dinats,isotropic}.py."""
    swin, isotropic = layout == "swin", layout in ("isotropic", "vitrpb")
    patch = 16 if isotropic else 4
    shapes = {"patch_embed.proj.weight": (dim, channels, patch, patch), "patch_embed.proj.bias": (dim,)}
    if layout == "nat":
        shapes = {"patch_embed.proj.0.weight": (dim // 2, channels, 3, 3), "patch_embed.proj.0.bias": (dim // 2,)}
        shapes |= {"patch_embed.proj.1.weight": (dim, dim // 2, 3, 3), "patch_embed.proj.1.bias": (dim,)}
    norms = {"patch_embed.norm": dim, "norm": dim if isotropic else dim * 2 ** (len(depths) - 1)}
    for stage, depth in enumerate(depths):
        wide = dim * 2**stage
        level = "layers." if isotropic else f"layers.{stage}." if swin else f"levels.{stage}."
        for n in range(depth):
            block = f"{level}{n}." if isotropic else f"{level}blocks.{n}."
            for name, rows, columns in (
                ("attn.qkv", 3 * wide, wide),
                ("attn.proj", wide, wide),
                ("mlp.fc1", ratio * wide, wide),
                ("mlp.fc2", wide, ratio * wide),
            ):
                shapes |= {f"{block}{name}.weight": (rows, columns), f"{block}{name}.bias": (rows,)}
            shapes[f"{block}attn.rpb"] = (wide // 32, 2 * kernel - 1, 2 * kernel - 1)
            norms |= {f"{block}norm1": wide, f"{block}norm2": wide}
            if scale:
                shapes |= {f"{block}gamma1": (wide,), f"{block}gamma2": (wide,)}
        if stage + 1 < len(depths):
            norms[f"{level}downsample.norm"] = 4 * wide if swin else 2 * wide
            shapes[f"{level}downsample.reduction.weight"] = (2 * wide, 4 * wide) if swin else (2 * wide, wide, 3, 3)
    for name, width in norms.items():
        shapes |= {f"{name}.weight": (width,), f"{name}.bias": (width,)}
    return shapes | {"head.weight": (classes, norms["norm"]), "head.bias": (classes,)}


def weightless(shapes):
    """Tensors of these shapes that take no room, in memory or on disk: one stored number each, by stride 0."""
    return {name: torch.full((), 0.01 * i).expand(shape) for i, (name, shape) in enumerate(shapes.items())}


NAT_MINI = {"dim": 64, "depths": (3, 4, 6, 5), "ratio": 3, "kernel": 7}
NAT_TINY = {"dim": 64, "depths": (3, 4, 18, 5), "ratio": 3, "kernel": 7}
