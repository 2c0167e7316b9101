#!/usr/bin/env python
"""Train the small DiNAT that natdeploy ships: real scans of digits, a few minutes on two cores. Needs scikit-learn.

Writes a Hugging Face directory (config.json, model.safetensors, preprocessor_config.json, README.md), reads it back
with natdeploy and fails unless that gives exactly the trained model.

Example: python scripts/train_digits.py --output tests/data/digits
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import torch
from digits import LABELS, Scans, load_split, write_images
from torch import Tensor, nn

from natdeploy import model_from_weights, weights_from_checkpoint
from natdeploy.checkpoints.renames import Renames, renamed
from natdeploy.models.config import ModelConfig
from natdeploy.models.hierarchical import NeighborhoodAttentionTransformer, checked_config
from natdeploy.preprocessing import Preprocessing, batch_from_images

# Heads of 32 channels as in every published model. The maps are 8x8, 4x4 and 2x2: stage 1 dilates without padding,
# stage 2 dilates and pads (3 * 2 > 4), stage 3 pads (3 > 2). 316k parameters.
CONFIG = ModelConfig(
    family="dinat",
    layout="nat",
    embed_dim=32,
    depths=(2, 2, 1),
    num_heads=(1, 2, 4),
    dilations=((1, 2), (1, 2), (1,)),
    kernel_size=3,
    mlp_ratio=2.0,
    layer_scale=True,
    num_channels=1,
    num_labels=len(LABELS),
    image_size=32,
)
LAYER_SCALE = 0.1  # 1e-5 of the deep published models would mute five blocks for most of so short a training
RECIPE = Preprocessing(
    crop_size=(CONFIG.image_size,) * 2,
    interpolation="bicubic",
    center_crop=False,
    channel_order="L",
    mean=(0.5,),
    std=(0.5,),
)
_PILLOW_BICUBIC = 3

BATCH, LEARNING_RATE, WEIGHT_DECAY, LABEL_SMOOTHING, WARM_UP = 64, 2e-3, 0.05, 0.05, 0.05
MAX_ROTATION, MAX_SHIFT, MAX_ZOOM = math.radians(12), 0.125, 0.1  # the shift in halves of the image: half a scan pixel

# The inverse of checkpoints/renames.py's HUGGING_FACE, whose rows cannot simply be turned round ("attention." is also
# part of "attention.projection."). Reading the result back proves it.
TO_HUGGING_FACE: Renames = (
    ("stem.norm.", "dinat.embeddings.norm."),
    ("stem.", "dinat.embeddings.patch_embeddings."),
    ("stages.#.blocks.#.", "dinat.encoder.levels.#.layers.#."),
    ("stages.#.downsample.", "dinat.encoder.levels.#.downsample."),
    ("norm.", "dinat.layernorm."),
    ("head.", "classifier."),
    (".attention_norm.", ".layernorm_before."),
    (".mlp_norm.", ".layernorm_after."),
    (".mlp.0.", ".intermediate.dense."),
    (".mlp.2.", ".output.dense."),
    (".attention.", ".attention.self."),
    (".attention.self.projection.", ".attention.output.dense."),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder for the checkpoint")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--date", default=time.strftime("%Y-%m-%d", time.gmtime()), help="for README.md")
    parser.add_argument("--threads", type=int, default=2, help="another number sums in another order")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(arguments.seed)

    train, held_out = load_split()
    images, targets = pixel_values_and_targets(train)
    model = initial_model()
    train_model(model, images, targets, arguments.epochs)

    arguments.output.mkdir(parents=True, exist_ok=True)
    write_checkpoint(model, arguments.output)
    check_reading_back(model, arguments.output)
    test_images, test_targets = pixel_values_and_targets(held_out)
    correct = correct_count(model, test_images, test_targets)
    description = readme(arguments, correct, len(train.labels), len(held_out.labels))
    (arguments.output / "README.md").write_text(description, encoding="utf-8")
    print(f"{correct} of {len(test_targets)} held-out digits right: {correct / len(test_targets):.2%}")
    print(f"wrote {arguments.output}; read back, it gives exactly the trained model")


def pixel_values_and_targets(scans: Scans) -> tuple[Tensor, Tensor]:
    """Send scans through image files and natdeploy's own preprocessing, so that training sees what inference sees.

    Returns:
        ``[N, 1, 32, 32]`` float32 and ``[N]`` int64.
    """
    with tempfile.TemporaryDirectory() as directory:
        images = batch_from_images(write_images(scans, Path(directory)), RECIPE)
    return torch.from_numpy(images), torch.from_numpy(scans.labels)


def initial_model() -> NeighborhoodAttentionTransformer:
    """Give an untrained model; weights as the families' authors draw them."""
    model = NeighborhoodAttentionTransformer(checked_config(CONFIG))
    for name, parameter in model.named_parameters():
        if name.endswith("_scale"):
            nn.init.constant_(parameter, LAYER_SCALE)
        elif name.endswith(".rpb") or (parameter.ndim == 2 and name.endswith(".weight")):
            nn.init.trunc_normal_(parameter, std=0.02)
    return model


def train_model(model: NeighborhoodAttentionTransformer, images: Tensor, targets: Tensor, epochs: int) -> None:
    """Train in place: AdamW, a warm-up and a cosine, augmented images; leaves the model in eval mode."""
    decayed = [p for p in model.parameters() if p.ndim in (2, 4)]
    kept = [p for p in model.parameters() if p.ndim not in (2, 4)]  # biases, norms, scales, rpb
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": kept, "weight_decay": 0.0}], lr=LEARNING_RATE
    )
    steps = epochs * (len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _learning_rate_share(step / steps))
    started = time.monotonic()
    model.train()
    for epoch in range(epochs):
        total = 0.0
        batches = torch.randperm(len(images))[: len(images) // BATCH * BATCH].split(BATCH)
        for batch in batches:
            logits = model(augmented(images[batch]))["logits"]
            loss = nn.functional.cross_entropy(logits, targets[batch], label_smoothing=LABEL_SMOOTHING)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            total += loss.item()
        if epoch == 0 or (epoch + 1) % 10 == 0:
            print(
                f"epoch {epoch + 1:3} of {epochs}: loss {total / len(batches):.4f}, {time.monotonic() - started:.0f} s",
                file=sys.stderr,
            )
    model.eval()


def _learning_rate_share(progress: float) -> float:
    """Rise over the first share of the training, then fall along a half cosine to zero."""
    if progress < WARM_UP:
        return (progress + 1e-3) / (WARM_UP + 1e-3)
    return 0.5 * (1 + math.cos(math.pi * (progress - WARM_UP) / (1 - WARM_UP)))


def augmented(images: Tensor) -> Tensor:
    """Turn, zoom and shift each image a little; what comes in from outside is paper (black: -1 after normalising)."""
    n = len(images)
    angle, zoom = (torch.rand(n) * 2 - 1) * MAX_ROTATION, 1 + (torch.rand(n) * 2 - 1) * MAX_ZOOM
    shift = (torch.rand(n, 2) * 2 - 1) * MAX_SHIFT
    rows = [zoom * angle.cos(), -zoom * angle.sin(), shift[:, 0], zoom * angle.sin(), zoom * angle.cos(), shift[:, 1]]
    grid = nn.functional.affine_grid(torch.stack(rows, 1).view(n, 2, 3), list(images.shape), align_corners=False)
    return nn.functional.grid_sample(images + 1, grid, align_corners=False) - 1


def correct_count(model: nn.Module, images: Tensor, targets: Tensor) -> int:
    """Count the images whose largest logit is their target's."""
    with torch.no_grad():
        return int((model(images)["logits"].argmax(-1) == targets).sum())


def write_checkpoint(model: NeighborhoodAttentionTransformer, directory: Path) -> None:
    """Write what Hugging Face's ``save_pretrained`` would: configuration, weights, image processor."""
    from safetensors.torch import save_file

    _write_json(directory / "config.json", huggingface_config())
    save_file(huggingface_tensors(model.state_dict()), directory / "model.safetensors", {"format": "pt"})
    (directory / "model.safetensors").chmod(0o644)  # it is written for its owner only
    height, width = RECIPE.crop_size
    processor = {
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": list(RECIPE.mean),
        "image_processor_type": "ViTImageProcessor",
        "image_std": list(RECIPE.std),
        "resample": _PILLOW_BICUBIC,
        "rescale_factor": 1 / 255,
        "size": {"height": height, "width": width},
    }
    _write_json(directory / "preprocessor_config.json", processor)


def huggingface_config() -> dict[str, object]:
    """Give every field that transformers 4.40.2 writes for a DiNAT classifier."""
    stages = [f"stage{i + 1}" for i in range(CONFIG.num_stages)]
    return {
        "architectures": ["DinatForImageClassification"],
        "attention_probs_dropout_prob": 0.0,
        "depths": list(CONFIG.depths),
        "dilations": [list(stage) for stage in CONFIG.dilations],
        "drop_path_rate": 0.0,
        "embed_dim": CONFIG.embed_dim,
        "hidden_act": CONFIG.hidden_act,
        "hidden_dropout_prob": 0.0,
        "hidden_size": CONFIG.num_features,
        "id2label": {str(i): label for i, label in enumerate(LABELS)},
        "initializer_range": 0.02,
        "kernel_size": CONFIG.kernel_size,
        "label2id": {label: i for i, label in enumerate(LABELS)},
        "layer_norm_eps": CONFIG.layer_norm_eps,
        "layer_scale_init_value": LAYER_SCALE,
        "mlp_ratio": CONFIG.mlp_ratio,
        "model_type": "dinat",
        "num_channels": CONFIG.num_channels,
        "num_heads": list(CONFIG.num_heads),
        "num_layers": CONFIG.num_stages,
        "out_features": stages[-1:],
        "out_indices": [CONFIG.num_stages],
        "patch_size": CONFIG.patch_size,
        "qkv_bias": CONFIG.qkv_bias,
        "stage_names": ["stem", *stages],
        "torch_dtype": "float32",
        "transformers_version": "4.40.2",
    }


def huggingface_tensors(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename our tensors, split qkv into query, key and value, join the two layer scales of a block."""
    tensors: dict[str, Tensor] = {}
    for name, tensor in state.items():
        original = renamed(name, TO_HUGGING_FACE)
        if ".qkv." in name:
            for part, third in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                tensors[original.replace(".qkv.", f".{part}.")] = third.contiguous()
        elif name.endswith(".attention_scale"):
            block, mlp_scale = name.removesuffix("attention_scale"), name.replace("attention_scale", "mlp_scale")
            tensors[renamed(block, TO_HUGGING_FACE) + "layer_scale_parameters"] = torch.stack(
                [tensor, state[mlp_scale]]
            )
        elif not name.endswith(".mlp_scale"):
            tensors[original] = tensor
    return tensors


def check_reading_back(model: NeighborhoodAttentionTransformer, directory: Path) -> None:
    """Fail unless natdeploy reads the same configuration, weights, preprocessing and labels out of the files."""
    checkpoint = weights_from_checkpoint(directory)
    assert checkpoint.config == CONFIG, checkpoint.config
    assert checkpoint.preprocessing == RECIPE, checkpoint.preprocessing
    assert checkpoint.labels == LABELS, checkpoint.labels
    loaded, trained = model_from_weights(checkpoint.config, checkpoint.tensors).state_dict(), model.state_dict()
    assert loaded.keys() == trained.keys()
    assert all(torch.equal(loaded[name], trained[name]) for name in trained)


def readme(arguments: argparse.Namespace, correct: int, trained_on: int, held_out: int) -> str:
    """Describe the checkpoint, with the figures of this run."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "scikit-learn", "pillow", "numpy"))
    parameters = sum(p.numel() for p in NeighborhoodAttentionTransformer(CONFIG).parameters())
    return f"""# A trained checkpoint, small enough to ship

A DiNAT with {parameters:,} parameters that reads handwritten digits, in Hugging Face format
(`DinatForImageClassification`). It is trained on real scans, so quickstart and the tests have real weights and real
images without a download. Its three stages dilate without padding (8x8 map), dilate and pad (4x4) and pad (2x2), and
it has relative positional biases and layer scale.

Accuracy: **{correct} of {held_out}** held-out scans right ({correct / held_out:.2%} top-1).

| | |
| --- | --- |
| made by | `python scripts/train_digits.py --output tests/data/digits`, {arguments.epochs} epochs, \
seed {arguments.seed}, {arguments.threads} threads |
| on | {arguments.date}, Python {platform.python_version()}, {packages} |
| split | every fourth scan of each class is held out: {trained_on} trained on, {held_out} held out \
(`scripts/digits.py`); 13 people wrote them all, so both parts hold the same hands |
| input | grayscale image files, resized to 32x32 (bicubic), scaled to -1..1; white ink on black |
| `images/` | the first two held-out scans of each class: `python scripts/write_digit_images.py \
tests/data/digits/images --count {2 * len(LABELS)}` |

The scans are scikit-learn's `load_digits`: the test part of *Optical Recognition of Handwritten Digits* (E. Alpaydin
and C. Kaynak, 1998, <https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits>, which the UCI
repository licenses under CC BY 4.0), as scikit-learn (BSD 3-Clause) ships it. Here their 17 grey levels are spread
over 0..255.
"""


def _write_json(path: Path, document: dict[str, object]) -> None:
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
