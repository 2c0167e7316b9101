"""Parts of the models that no whole model shows: each activation by its formula, widths as counted."""

import math
from dataclasses import replace

import pytest
import torch
from models.test_sizes import NAT

from natdeploy.checkpoints.matching import expected_tensors
from natdeploy.checkpoints.random_weights import random_tensors
from natdeploy.models import model_from_weights
from natdeploy.models.config import ACTIVATIONS


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def gelu_by_tanh(x):
    return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


# What Hugging Face's names stand for (transformers 4.40.2, activations.py).
FORMULAS = {
    "gelu": lambda x: 0.5 * x * (1 + math.erf(x / math.sqrt(2))),
    "gelu_new": gelu_by_tanh,
    "gelu_pytorch_tanh": gelu_by_tanh,
    "quick_gelu": lambda x: x * sigmoid(1.702 * x),
    "relu": lambda x: max(x, 0.0),
    "silu": lambda x: x * sigmoid(x),
    "swish": lambda x: x * sigmoid(x),
    "tanh": math.tanh,
    "sigmoid": sigmoid,
    "mish": lambda x: x * math.tanh(math.log1p(math.exp(x))),
}


def test_there_is_a_formula_for_every_activation():
    assert set(FORMULAS) == set(ACTIVATIONS)


@pytest.mark.parametrize("name", FORMULAS)
def test_activation_is_what_its_name_says(name):
    config = replace(NAT, hidden_act=name)
    model = model_from_weights(config, random_tensors(expected_tensors(config), seed=0))
    x = torch.linspace(-4, 4, 33, dtype=torch.float64)
    expected = torch.tensor([FORMULAS[name](value) for value in x.tolist()], dtype=torch.float64)
    torch.testing.assert_close(model.stages[0].blocks[0].mlp[1](x), expected, rtol=0, atol=1e-12)


def test_hidden_width_of_the_mlp_is_truncated():
    shapes = {name: tuple(t.shape) for name, t in expected_tensors(replace(NAT, mlp_ratio=1.3)).items()}
    assert [shapes[f"stages.{i}.blocks.0.mlp.0.weight"] for i in range(3)] == [(10, 8), (20, 16), (41, 32)]
