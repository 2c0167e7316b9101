"""The reference that all else is measured by, against numbers that other programs or a hand computed."""

from pathlib import Path

import numpy as np
import pytest
import torch
from ops.cases import Case

from natdeploy.ops.reference import neighborhood_attention, neighbors_along_axis, packed_neighborhood_attention
from natdeploy.ops.spec import Neighborhood

GOLDEN = np.load(Path(__file__).parents[1] / "data" / "golden" / "na2d_rpb.npz")
GOLDEN_CASES = sorted({name.split("_")[0] for name in GOLDEN.files})


@pytest.mark.parametrize("name", GOLDEN_CASES)
def test_gives_what_natten_0_17_gave(name: str):
    head_dim, kernel, dilation, has_rpb = (int(x) for x in GOLDEN[f"{name}_meta"][4:])
    qkv = (GOLDEN[f"{name}_{part}"] for part in ("query", "key", "value"))
    rpb = GOLDEN[f"{name}_rpb"] if has_rpb else None
    neighborhood = Neighborhood.of((kernel, kernel), head_dim**-0.5, (dilation, dilation))
    # 1e-6: the golden values come of float64 sums over float32 roundings.
    np.testing.assert_allclose(
        neighborhood_attention(*qkv, rpb, neighborhood), GOLDEN[f"{name}_out"], atol=1e-6, rtol=0
    )


@pytest.mark.parametrize(
    ("extent", "options", "expected"),
    [
        (5, {"kernel": 3}, ["012", "012", "123", "234", "234"]),
        (6, {"kernel": 4}, ["0123", "0123", "0123", "1234", "2345", "2345"]),  # even: one further back than ahead
        (3, {"kernel": 3}, ["012"] * 3),
        (4, {"kernel": 1}, ["0", "1", "2", "3"]),
        (7, {"kernel": 3, "dilation": 2}, ["024", "135", "024", "135", "246", "135", "246"]),  # groups of 4 and 3
        (8, {"kernel": 2, "dilation": 3}, ["03", "14", "25", "03", "14", "25", "36", "47"]),
        (6, {"kernel": 3, "stride": 2}, ["012", "012", "234", "234", "345", "345"]),  # leaders 1, 3, 5 (clamped to 4)
        (5, {"kernel": 3, "stride": 3}, ["012", "012", "012", "234", "234"]),
        (5, {"kernel": 3, "causal": True}, ["0", "01", "012", "123", "234"]),  # shrinks
        (5, {"kernel": 3, "causal": True, "stride": 2}, ["0", "01", "12", "123", "234"]),  # leaders 1, 3, 4
        (6, {"kernel": 2, "causal": True, "dilation": 2}, ["0", "1", "02", "13", "24", "35"]),
    ],
    ids=lambda x: "-".join(f"{k}{int(v)}" for k, v in x.items()) if isinstance(x, dict) else None,
)
def test_neighbors_written_down_by_hand(extent: int, options: dict, expected: list[str]):
    found = ["".join(map(str, neighbors_along_axis(token, extent, **options))) for token in range(extent)]
    assert found == expected


def test_bias_counts_from_the_token_to_its_neighbor():
    # Weights 1 to 5 for neighbours 2 back to 2 ahead, of values 1, 10, 100.
    value = np.array([1.0, 10.0, 100.0]).reshape(1, 3, 1, 1)
    rpb = np.log([[1.0, 2.0, 3.0, 4.0, 5.0]])
    found = neighborhood_attention(value * 0, value * 0, value, rpb, Neighborhood.of((3,), 1.0))
    by_hand = [(3 * 1 + 4 * 10 + 5 * 100) / 12, (2 * 1 + 3 * 10 + 4 * 100) / 9, (1 * 1 + 2 * 10 + 3 * 100) / 6]
    np.testing.assert_allclose(found.ravel(), by_hand, rtol=1e-12)


def test_bias_axes_are_height_then_width():
    value = np.array([[1.0, 10.0], [100.0, 1000.0]]).reshape(1, 2, 2, 1, 1)
    rpb = np.log(np.arange(1.0, 10.0)).reshape(1, 3, 3)  # weights 1..9; the middle, 5, is the token itself
    found = neighborhood_attention(value * 0, value * 0, value, rpb, Neighborhood.of((2, 2), 1.0))
    top_left = (5 * 1 + 6 * 10 + 8 * 100 + 9 * 1000) / 28
    top_right = (4 * 1 + 5 * 10 + 7 * 100 + 8 * 1000) / 24
    bottom_left = (2 * 1 + 3 * 10 + 5 * 100 + 6 * 1000) / 16
    bottom_right = (1 * 1 + 2 * 10 + 4 * 100 + 5 * 1000) / 12
    np.testing.assert_allclose(found.ravel(), [top_left, top_right, bottom_left, bottom_right], rtol=1e-12)


def test_scale_multiplies_query_times_key():
    query = np.full((1, 2, 1, 1), 3.0)
    key, value = np.array([1.0, 2.0]).reshape(1, 2, 1, 1), np.array([0.0, 1.0]).reshape(1, 2, 1, 1)
    found = neighborhood_attention(query, key, value, None, Neighborhood.of((2,), 0.5))
    np.testing.assert_allclose(found.ravel(), [1 / (1 + np.exp(-1.5))] * 2, rtol=1e-12)


@pytest.mark.parametrize("extents", [(11,), (5, 7), (3, 4, 2)], ids=str)
@pytest.mark.parametrize("heads_first", [False, True])
def test_window_of_the_whole_map_is_ordinary_attention(extents: tuple[int, ...], heads_first: bool):
    case = Case(extents, extents, batch=2, heads=3, head_dim=5, heads_first=heads_first)
    query, key, value = (torch.from_numpy(x).double().flatten(1, -3).transpose(1, 2) for x in case.tensors()[:3])
    ordinary = torch.nn.functional.scaled_dot_product_attention(query, key, value).transpose(1, 2)
    np.testing.assert_allclose(case.expected(), ordinary.reshape(case.expected().shape).numpy(), rtol=1e-10, atol=1e-12)


def test_packed_form_takes_query_key_value_then_heads():
    case = Case((5, 6), (3, 3), has_rpb=True, batch=2, heads=3, head_dim=4)
    query, key, value, rpb = case.tensors()
    flat = (2, 5, 6, 12)
    qkv = np.concatenate([query.reshape(flat), key.reshape(flat), value.reshape(flat)], axis=-1)
    found = packed_neighborhood_attention(qkv, rpb, 3, case.neighborhood)
    np.testing.assert_array_equal(found, case.expected().reshape(flat))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"kernel_size": (7, 3)}, "axis 0: kernel_size*dilation = 7 exceeds the map's extent 6"),
        ({"dilation": (1, 3)}, "axis 1: kernel_size*dilation = 9 exceeds the map's extent 8"),
        ({"kernel_size": (3,)}, "the map has 2 spatial axes, kernel_size has 1"),
        ({"kernel_size": (1, 1, 1, 1)}, "kernel_size has 4 axes; 1 to 3 are supported"),
        ({"dilation": (1,)}, "dilation has 1 values for 2 axes"),
        ({"kernel_size": (0, 3)}, "must be positive"),
        ({"dilation": (-1, 1)}, "must be positive"),
        ({"stride": (4, 1)}, "stride (4, 1) must lie between 1 and kernel_size (3, 3)"),
        ({"scale": float("nan")}, "scale nan is not finite"),
        ({"is_causal": (0, 1)}, "relative positional bias is not defined together with is_causal or stride"),
        ({"stride": (1, 2)}, "relative positional bias is not defined together with is_causal or stride"),
    ],
    ids=lambda x: str(x) if isinstance(x, dict) else None,
)
def test_what_the_contract_forbids_is_refused(changes: dict, problem: str):
    query, key, value, rpb = Case((6, 8), (3, 3), has_rpb=True).tensors()
    with pytest.raises(ValueError) as caught:
        neighborhood_attention(
            query, key, value, rpb, Neighborhood.of(**{"kernel_size": (3, 3), "scale": 1.0} | changes)
        )
    assert problem in str(caught.value)


def test_all_problems_are_reported_at_once():
    problems = Neighborhood.of((9, 3), float("inf"), (1, 1), (1, 5), (0, 1)).problems((6, 8), has_rpb=True)
    assert len(problems) == 4
