"""The models once more, written from the papers in the plainest way: dense attention under a mask, loops, no modules.

Shares no code with natdeploy; takes its tensor names and configuration only.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F


def window(token, extent, kernel, dilation):
    """Tokens that one token attends to along an axis: the kernel nearest ones of its dilation group."""
    group = [t for t in range(extent) if t % dilation == token % dilation]
    place = group.index(token)
    first = max(0, min(place - kernel // 2, len(group) - kernel))
    return group[first : first + kernel]


def bias_table(rpb, height, width, kernel, dilation):
    """Dense ``[heads, tokens, tokens]`` bias: -inf where a token does not see another."""
    bias = torch.full((rpb.shape[0], height, width, height, width), -math.inf, dtype=rpb.dtype)
    for i in range(height):
        for j in range(width):
            for a in window(i, height, kernel, dilation):
                for b in window(j, width, kernel, dilation):
                    row, column = (a - i) // dilation + kernel - 1, (b - j) // dilation + kernel - 1
                    bias[:, i, j, a, b] = rpb[:, row, column]
    return bias.reshape(rpb.shape[0], height * width, height * width)


def dense_attention(qkv, bias, heads):
    """``[B, H, W, 3C]`` to ``[B, H, W, C]``, every token against every token plus ``bias``."""
    batch, height, width, channels = qkv.shape
    dim = channels // 3
    parts = [qkv[..., n * dim : (n + 1) * dim].reshape(batch, height * width, heads, dim // heads) for n in range(3)]
    query, key, value = (part.permute(0, 2, 1, 3) for part in parts)
    scores = query @ key.transpose(-1, -2) / math.sqrt(dim // heads) + bias
    return (scores.softmax(-1) @ value).permute(0, 2, 1, 3).reshape(batch, height, width, dim)


def attention_layer(x, tensors, heads, kernel, dilation):
    """Pad to the window with zeros, project, attend, crop, project."""
    height, width = x.shape[1:3]
    extent = kernel * dilation
    padded = F.pad(x, (0, 0, 0, max(0, extent - width), 0, max(0, extent - height)))
    qkv = F.linear(padded, tensors["qkv.weight"], tensors.get("qkv.bias"))
    bias = bias_table(tensors["rpb"], *padded.shape[1:3], kernel, dilation)
    attended = dense_attention(qkv, bias, heads)[:, :height, :width]
    return F.linear(attended, tensors["projection.weight"], tensors["projection.bias"])


def below(tensors, prefix):
    return {name[len(prefix) :]: t for name, t in tensors.items() if name.startswith(prefix)}


def norm(x, tensors, prefix, eps=1e-5):
    return F.layer_norm(x, x.shape[-1:], tensors[f"{prefix}.weight"], tensors[f"{prefix}.bias"], eps)


def block(x, t, config, heads, dilation):
    branch = norm(x, t, "attention_norm", config.layer_norm_eps)
    branch = attention_layer(branch, below(t, "attention."), heads, config.kernel_size, dilation)
    x = x + branch * t.get("attention_scale", torch.ones(1, dtype=x.dtype))
    branch = norm(x, t, "mlp_norm", config.layer_norm_eps)
    branch = F.gelu(F.linear(branch, t["mlp.0.weight"], t["mlp.0.bias"]))
    branch = F.linear(branch, t["mlp.2.weight"], t["mlp.2.bias"])
    return x + branch * t.get("mlp_scale", torch.ones(1, dtype=x.dtype))


def stem(x, t, config):
    if config.layout == "nat":
        for name in ("0", "1"):
            x = F.conv2d(x, t[f"projection.{name}.weight"], t[f"projection.{name}.bias"], stride=2, padding=1)
    else:
        patch = config.patch_size
        height, width = x.shape[2:]
        canvas = torch.zeros(*x.shape[:2], math.ceil(height / patch) * patch, math.ceil(width / patch) * patch).to(x)
        canvas[:, :, :height, :width] = x
        x = F.conv2d(canvas, t["projection.weight"], t["projection.bias"], stride=patch)
    return norm(x.permute(0, 2, 3, 1), t, "norm")


def downsample(x, t, layout):
    if layout == "nat":
        x = F.conv2d(x.permute(0, 3, 1, 2), t["reduction.weight"], stride=2, padding=1)
        return norm(x.permute(0, 2, 3, 1), t, "norm")
    height, width = x.shape[1:3]
    canvas = torch.zeros(x.shape[0], height + height % 2, width + width % 2, x.shape[3]).to(x)
    canvas[:, :height, :width] = x
    corners = [canvas[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
    return F.linear(norm(torch.cat(corners, -1), t, "norm"), t["reduction.weight"])


def outputs(config, tensors, pixel_values):
    """Every output by name, in float64."""
    t = {name: torch.as_tensor(np.asarray(value), dtype=torch.float64) for name, value in tensors.items()}
    x = stem(pixel_values.double(), below(t, "stem."), config)
    found = {"hidden_states.0": x}
    for i, (heads, dilations) in enumerate(zip(config.num_heads, config.dilations, strict=True)):
        for j, dilation in enumerate(dilations):
            x = block(x, below(t, f"stages.{i}.blocks.{j}."), config, heads, dilation)
        found[f"before_downsampling.{i + 1}"] = x
        if i + 1 < len(config.depths):
            x = downsample(x, below(t, f"stages.{i}.downsample."), config.layout)
        found[f"hidden_states.{i + 1}"] = x
    found["pooled"] = norm(x, t, "norm", config.layer_norm_eps).mean((1, 2))
    found["logits"] = F.linear(found["pooled"], t["head.weight"], t["head.bias"])
    return found
