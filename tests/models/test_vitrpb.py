"""ViT-RPB is full attention with a relative positional bias: neighborhood attention whose window is the whole map."""

import json

import torch
import torch.nn.functional as F

from natdeploy.checkpoints import weights_from_checkpoint
from natdeploy.models import model_from_weights

SIDE, PATCH, DIM, HEADS, DEPTH = 14, 4, 24, 3, 2  # the published map of 14x14, a small width


def published_bias_index(side):
    """Positions in the flat bias table, ``[tokens, tokens]``: Swin's index of (token - neighbour), flipped twice."""
    at = [(row, column) for row in range(side) for column in range(side)]
    swin = torch.tensor([[(a[0] - b[0] + side - 1) * (2 * side - 1) + a[1] - b[1] + side - 1 for b in at] for a in at])
    return swin.flip(0).flip(1)


def full_attention_model(t, pixel_values):
    """The classifier, in float64, under the authors' tensor names."""
    t = {name: tensor.double() if tensor.is_floating_point() else tensor for name, tensor in t.items()}

    def norm(x, name):
        return F.layer_norm(x, (DIM,), t[f"{name}.weight"], t[f"{name}.bias"])

    def linear(x, name):
        return F.linear(x, t[f"{name}.weight"], t[f"{name}.bias"])

    x = F.conv2d(pixel_values.double(), t["patch_embed.proj.weight"], t["patch_embed.proj.bias"], stride=PATCH)
    x = norm(x.flatten(2).transpose(1, 2), "patch_embed.norm")  # [B, tokens, DIM]
    for n in range(DEPTH):
        layer = f"layers.{n}"
        qkv = linear(norm(x, f"{layer}.norm1"), f"{layer}.attn.qkv").unflatten(-1, (3, HEADS, DIM // HEADS))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        bias = t[f"{layer}.attn.rpb"].flatten(1)[:, t[f"{layer}.attn.relative_position_index"]]
        weights = (query @ key.transpose(-1, -2) * (DIM // HEADS) ** -0.5 + bias).softmax(-1)
        x = x + linear((weights @ value).transpose(1, 2).flatten(2), f"{layer}.attn.proj")
        x = x + linear(F.gelu(linear(norm(x, f"{layer}.norm2"), f"{layer}.mlp.fc1")), f"{layer}.mlp.fc2")
    return linear(norm(x, "norm").mean(1), "head")


def state_dict(generator):
    def draw(*shape):
        return torch.randn(shape, generator=generator) * 0.3

    t = {"patch_embed.proj.weight": draw(DIM, 3, PATCH, PATCH), "patch_embed.proj.bias": draw(DIM)}
    sizes = {"attn.qkv": (3 * DIM, DIM), "attn.proj": (DIM, DIM), "mlp.fc1": (2 * DIM, DIM), "mlp.fc2": (DIM, 2 * DIM)}
    norms = ["patch_embed.norm", "norm"]
    for n in range(DEPTH):
        for name, (rows, columns) in sizes.items():
            t[f"layers.{n}.{name}.weight"], t[f"layers.{n}.{name}.bias"] = draw(rows, columns), draw(rows)
        t[f"layers.{n}.attn.rpb"] = draw(HEADS, 2 * SIDE - 1, 2 * SIDE - 1) * 3
        t[f"layers.{n}.attn.relative_position_index"] = published_bias_index(SIDE)
        norms += [f"layers.{n}.norm1", f"layers.{n}.norm2"]
    for name in norms:
        t[f"{name}.weight"], t[f"{name}.bias"] = 1 + draw(DIM), draw(DIM)
    return t | {"head.weight": draw(5, DIM), "head.bias": draw(5)}


def test_window_of_the_whole_map_equals_published_full_attention(tmp_path):
    generator = torch.Generator().manual_seed(11)
    weights = state_dict(generator)
    torch.save(weights, tmp_path / "model.pth")
    arguments = {"family": "NATIsotropic", "img_size": SIDE * PATCH, "patch_size": PATCH, "embed_dim": DIM}
    arguments |= {"depth": DEPTH, "num_heads": HEADS, "mlp_ratio": 2.0, "kernel_size": None, "dilation": None}
    (tmp_path / "config.json").write_text(json.dumps(arguments))

    checkpoint = weights_from_checkpoint(tmp_path)
    assert (checkpoint.config.family, checkpoint.config.kernel_size) == ("vitrpb", SIDE)
    pixel_values = torch.randn(2, 3, SIDE * PATCH, SIDE * PATCH, generator=generator)
    found = model_from_weights(checkpoint.config, checkpoint.tensors).double()(pixel_values.double())["logits"]
    expected = full_attention_model(weights, pixel_values)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-11)
    # The bias matters: with its table turned round, the same comparison fails.
    turned = {name: t.flip(-1) if name.endswith("rpb") else t for name, t in weights.items()}
    assert (full_attention_model(turned, pixel_values) - expected).abs().max() > 0.01
